"""Runs: from a spec to a record, each in a child process of its own."""
