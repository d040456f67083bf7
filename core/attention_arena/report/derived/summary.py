"""What each variant came to on each task, over its seeds: the numbers under every table, sentence and figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import polars as pl

from attention_arena.report.derived.against_best import compare_with_best
from attention_arena.report.derived.summaries import Summaries, Summary, Verdict
from attention_arena.report.derived.summing import COSTS, summed
from attention_arena.report.derived.task_summary import TaskSummary
from attention_arena.report.reading.naming import TaskKey, task_labels
from attention_arena.report.reading.results import Results

__all__ = ["COSTS", "Summaries", "Summary", "TaskSummary", "Verdict", "summarise"]


def summarise(results: Results, comparisons: pl.DataFrame | None = None) -> Summaries:
    """Summarise the runs of one study; with `comparisons`, also how they stand to the baseline and to the best."""
    found = summed(results)
    if comparisons is None:
        return found
    named = task_labels(results.runs.select("task", "task_options").iter_rows())
    verdicts, beside_best = (_verdicts(frame, named) for frame in (comparisons, compare_with_best(results)))
    cells = {
        key: replace(cell, verdict=verdicts.get(key), against_best=beside_best.get(key))
        for key, cell in found.cells.items()
    }
    return replace(found, cells=cells)


def _verdicts(comparisons: pl.DataFrame, named: Mapping[TaskKey, str]) -> dict[tuple[str, str], Verdict]:
    return {
        (row["label"], named[row["task"], row["task_options"]]): Verdict(
            row["verdict"],
            row["reason"],
            *(row[key] for key in ("difference", "low", "high", "unit", "p_adjusted", "n_seeds")),
        )
        for row in comparisons.iter_rows(named=True)
    }
