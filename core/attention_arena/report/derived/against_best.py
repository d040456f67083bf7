"""Every variant against the best of its task, example by example: which of them may be the truly best.

Each task is a family of its own; `statistics.best` says what is tested and what it guarantees.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from attention_arena.report.derived import comparisons
from attention_arena.report.derived.pairing import Scores
from attention_arena.report.derived.summing import summed
from attention_arena.report.reading.naming import task_labels
from attention_arena.report.reading.results import Results, once
from attention_arena.statistics import LEVEL, behind_best

WORSE, NOT_WORSE = "worse", "not shown worse"

COLUMNS: Mapping[str, Any] = {
    "best" if name == "baseline" else name: kind for name, kind in comparisons.COLUMNS.items()
}
MEANINGS: Mapping[str, str] = {
    **{name: meaning for name, meaning in comparisons.MEANINGS.items() if name in COLUMNS},
    "best": "the variant with the best mean on the task, with which it is compared",
    "difference": "variant minus best, or the ratio of their perplexities",
    "p": "one-sided p of being as good as the best: half of the two-sided one, or 1 minus that where it leads",
    "p_adjusted": "p times the number of other variants that have a score on the task, at most 1",
    "verdict": "worse or not shown worse, by p_adjusted at 5 %; null where it cannot be told",
}


def compare_with_best(results: Results) -> pl.DataFrame:
    """Return a row for each variant but the best on each task of each study that has one; see `MEANINGS`.

    Of several with the best score, the first is compared with.
    """
    return pl.concat([pl.DataFrame(schema=COLUMNS), *(_of_study(results.of(study)) for study in results.studies)])


@once
def _of_study(results: Results) -> pl.DataFrame:
    [study] = results.studies
    folder = results.folders.get((study.study, study.profile))
    return pl.DataFrame([] if folder is None else list(_rows(results, folder / "runs")), COLUMNS)


def _rows(results: Results, folder: Path) -> Iterator[dict[str, Any]]:
    summaries = summed(results)
    named = task_labels(results.runs.select("task", "task_options").iter_rows())
    tasks = {task.label: task for task in summaries.tasks}
    for key, of_task in results.runs.group_by("task", "task_options", maintain_order=True):
        task = tasks[named[key]]
        best = summaries.best(task)
        if best is None:
            continue
        n_others = sum(cell.score is not None for cell in summaries.of_task(task)) - 1
        for row in comparisons.against(best.label, of_task.to_dicts(), Scores(folder)):
            yield {**_judged(row, n_others), "best": best.label}


def _judged(row: dict[str, Any], n_others: int) -> dict[str, Any]:
    """Return a row with one-sided p in place of the two-sided one, and the verdict that follows from it."""
    higher_is_better = row.pop("higher_is_better")
    if row["p"] is None:
        return {**row, "p_adjusted": None, "verdict": None}
    change = row["difference"] - comparisons.of_equals(row["unit"])
    ahead = change > 0 if higher_is_better else change < 0
    behind = behind_best(row["p"], ahead, n_others)
    return {**row, **behind._asdict(), "verdict": WORSE if behind.p_adjusted < 1 - LEVEL else NOT_WORSE}
