"""FLOPs, counted and by formula, and parameters."""
