"""Errors that are the user's to mend; the command line shows their message alone."""

from __future__ import annotations


class ConfigError(ValueError):
    """Something that the user asked for cannot be; the message says what was found, expected, and the way out."""
