"""Results as they were written, read into frames."""
