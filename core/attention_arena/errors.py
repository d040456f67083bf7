"""Errors that are the user's to mend; the command line shows their message alone."""

from __future__ import annotations


class ConfigError(ValueError):
    """Something that the user asked for cannot be; the message says what was found, expected, and the way out."""


class TaskError(Exception):
    """Data is missing, damaged or cannot be made; the message says what was expected and the way out."""
