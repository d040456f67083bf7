"""What ran, what did not, and why: a cell for each variant on each task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from attention_arena.report.derived.summary import Summaries
from attention_arena.report.rows.cells import NOT_PLANNED


class Covered(NamedTuple):
    """How much of a cell ran."""

    text: str
    reasons: str
    complete: bool


def coverage(summaries: Summaries) -> Sequence[tuple[str, Sequence[Covered]]]:
    """Return, for each label, its runs on each task: `3 of 3`, `2 of 3` with the statuses of the others."""
    return [(label, [_covered(summaries, label, task.label) for task in summaries.tasks]) for label in summaries.labels]


def _covered(summaries: Summaries, label: str, task: str) -> Covered:
    cell = summaries.cells.get((label, task))
    if cell is None:
        return Covered(NOT_PLANNED.detail, "", complete=False)
    reasons = ", ".join(status for status in cell.reasons if status != "no score")
    return Covered(f"{cell.n_done} of {cell.n_runs}", reasons, cell.n_done == cell.n_runs)
