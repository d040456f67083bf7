"""The comparisons with the baseline as a page lists them."""

from __future__ import annotations

from attention_arena.report.derived.summary import Summaries
from attention_arena.report.rows.score_cells import difference, p_value


def comparison_rows(summaries: Summaries) -> list[dict[str, str]]:
    """Return every comparison in words: task, label, verdict, difference, p (adjusted), seeds, reason."""
    rows = []
    for task in summaries.tasks:
        for cell in summaries.of_task(task):
            verdict = cell.verdict
            if verdict is not None:
                rows.append(
                    {
                        "task": task.heading,
                        "label": cell.label,
                        "verdict": verdict.word or "not compared",
                        "difference": difference(verdict),
                        "p": p_value(verdict.p_adjusted),
                        "seeds": str(verdict.n_seeds) if verdict.word else "",
                        "reason": verdict.reason or "",
                    }
                )
    return rows
