"""Memory of a training step and of inference, and what fits a budget of it."""
