"""Speed of inference, of a training step and of decoding, beside the baseline's."""
