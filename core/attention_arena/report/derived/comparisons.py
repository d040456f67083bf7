"""Every variant against the baseline, example by example and seed by seed: a table with a verdict a row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from attention_arena.report.derived.pairing import Pair, Scores, Told
from attention_arena.report.reading.results import Results
from attention_arena.statistics import LEVEL, holm

BETTER, WORSE, NO_DIFFERENCE = "better", "worse", "no difference shown"

COLUMNS: Mapping[str, Any] = {
    "study": pl.String,
    "profile": pl.String,
    "task": pl.String,
    "task_options": pl.String,
    "label": pl.String,
    "baseline": pl.String,
    "metric": pl.String,
    "unit": pl.String,
    "n_seeds": pl.Int64,
    "n_examples": pl.Int64,
    "difference": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "detectable": pl.Float64,
    "p": pl.Float64,
    "p_adjusted": pl.Float64,
    "verdict": pl.String,
    "reason": pl.String,
}
MEANINGS: Mapping[str, str] = {
    "study": "the study",
    "profile": "its profile",
    "task": "the task",
    "task_options": "its options, JSON",
    "label": "the variant",
    "baseline": "the variant that it is compared with",
    "metric": "what is compared: the task's first metric, on test, at the step with the best validation score",
    "unit": "of difference, low and high: points (of percent), the metric's unit, or × for a ratio of perplexities",
    "n_seeds": "seeds that both have, each paired with its own; 1: the row is about these two trained models alone",
    "n_examples": "test examples, or rows of running text, that both were scored on",
    "difference": "variant minus baseline, or the ratio of their perplexities",
    "low": "lower end of its 95 % interval, not adjusted for the number of comparisons",
    "high": "upper end",
    "detectable": "the smallest difference that so many seeds and examples, varying as they do, could show at 5 %: half"
    " of the interval, or the root of high over low for a ratio; Holm's correction asks for more",
    "p": "two-sided p of no difference: exact McNemar for one seed's accuracy, else seeds and examples by their parts",
    "p_adjusted": "p after Holm's correction over all rows of the study that have one",
    "verdict": "better, worse or no difference shown, by p_adjusted at 5 %; null where it cannot be told",
    "reason": "why there is no verdict, or what limits it; null otherwise",
}


def compare_with_baseline(results: Results) -> pl.DataFrame:
    """Return a row for each variant but the baseline on each task of each study that has one; see `MEANINGS`.

    Reads each run's predictions once, and holds those of one task's baseline and one variant at a time.
    """
    frames = [pl.DataFrame(schema=COLUMNS)]
    for study in results.studies:
        part = results.of(study)
        folder = part.folders.get((study.study, study.profile))
        if folder is not None:
            frames.append(pl.DataFrame(_adjusted(list(_rows(part.runs, folder / "runs"))), COLUMNS))
    return pl.concat(frames)


def _rows(runs: pl.DataFrame, folder: Path) -> Iterator[dict[str, Any]]:
    for _, of_task in runs.group_by("task", "task_options", maintain_order=True):
        rows = of_task.to_dicts()
        baseline = next((row["label"] for row in rows if row["baseline"]), None)
        if baseline is not None:
            yield from ({**row, "baseline": baseline} for row in against(baseline, rows, Scores(folder)))


def against(rival: str, rows: Sequence[Mapping[str, Any]], scores: Scores) -> Iterator[dict[str, Any]]:
    """Yield the comparison of each other label with `rival` on the one task of `rows`, without a verdict.

    A row has the columns that it shares with `COLUMNS`, and `higher_is_better`.
    """
    theirs = _by_seed(row for row in rows if row["label"] == rival)
    for label in dict.fromkeys(row["label"] for row in rows):
        if label != rival:
            mine = [row for row in rows if row["label"] == label]
            yield _row(mine, scores.compare(Pair(_by_seed(mine), theirs, len(mine))))


def _by_seed(rows: Iterable[Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    return {row["seed"]: row for row in rows if row["status"] == "done" and row["value"] is not None}


def _row(mine: Sequence[Mapping[str, Any]], told: Told) -> dict[str, Any]:
    first = next((row for row in mine if row["metric"] is not None), mine[0])
    found = told.comparison
    unit = _unit(first["metric"], first["unit"])
    return {
        **{key: first[key] for key in ("study", "profile", "task", "task_options", "label", "metric")},
        "unit": unit,
        "n_seeds": found.n_seeds if found else 0,
        "n_examples": found.n_examples if found else None,
        **{key: getattr(found, key, None) for key in ("difference", "low", "high", "p")},
        "detectable": None if found is None else found.detectable(ratio=unit == "×"),
        "reason": told.reason,
        "higher_is_better": first["higher_is_better"],
    }


def _unit(metric: str | None, unit: str | None) -> str | None:
    if metric is not None and metric.endswith("perplexity"):
        return "×"
    return "points" if unit == "%" else unit


def _adjusted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with Holm's p over all of them, and the verdict that follows from it."""
    tested = [row for row in rows if row["p"] is not None]
    adjusted = dict(zip(map(id, tested), holm([row["p"] for row in tested]), strict=True))
    finished = []
    for row in rows:
        p = adjusted.get(id(row))
        up = row.pop("higher_is_better")
        finished.append(row | {"p_adjusted": p, "verdict": None if p is None else _verdict(row, p, up)})
    return finished


def _verdict(row: Mapping[str, Any], p_adjusted: float, higher_is_better: bool) -> str:
    if p_adjusted >= 1 - LEVEL:
        return NO_DIFFERENCE
    return BETTER if (row["difference"] > of_equals(row["unit"])) == higher_is_better else WORSE


def of_equals(unit: str | None) -> float:
    """Return what the difference of equal scores is: a ratio of perplexities is 1."""
    return 1.0 if unit == "×" else 0.0
