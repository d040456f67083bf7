"""Diagnostics: what a trained model does inside, as measures."""
