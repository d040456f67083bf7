"""How far a study has come, for a page that is written while it runs."""

from __future__ import annotations

from datetime import UTC, datetime

from attention_arena.report.reading.results import Results

SHOWN = ("running", "pending", "failed", "oom", "timeout", "diverged", "unsupported")


def counts_in_words(results: Results) -> str:
    """Return `12 of 48 runs done · 2 running · 34 pending`."""
    found = dict(results.runs.group_by("status").len().iter_rows())
    parts = [f"{found.get('done', 0)} of {len(results.runs)} runs done"]
    return " · ".join(parts + [f"{found[status]} {status}" for status in SHOWN if status in found])


def still_running(results: Results) -> str:
    """Return when a page of a running study is written; nothing of one at rest, whose page depends on it alone."""
    if not (results.runs["status"] == "running").any():
        return ""
    return f"Still running: written at {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC; `arena report` writes it anew."
