"""Figures of what trained models do inside."""
