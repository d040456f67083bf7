"""What a variant's step takes as a multiple of the baseline's, measured by turns in one process, length by length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from attention_arena.report.reading.naming import task_labels
from attention_arena.report.reading.results import Results, once
from attention_arena.statistics import geometric_mean

MEASURE = "time_ratio"
PHASES = ("training", "inference")


@dataclass(frozen=True)
class TimeRatio:
    """One variant's time over the baseline's at one length; below 1 it is faster."""

    label: str
    task: str
    """The task's label."""
    phase: str
    """`training` or `inference`."""
    length: int
    value: float
    low: float | None
    high: float | None


@once
def time_ratios(results: Results) -> list[TimeRatio]:
    """Return the ratios of one study; those of several seeds are put together by `pooled`."""
    rows = results.measurements.filter(
        (pl.col("measure") == MEASURE)
        & pl.col("length").is_not_null()
        & pl.col("value").is_finite()
        & (pl.col("value") > 0)
    )
    names = task_labels(results.runs.select("task", "task_options").iter_rows())
    labels = [names[key] for key in rows.select("task", "task_options").iter_rows()]
    rows = rows.with_columns(task=pl.Series(labels, dtype=pl.String))
    keys = ("label", "task", "phase", "length")
    found = [TimeRatio(**row) for row in rows.select(*keys, "value", "low", "high").iter_rows(named=True)]
    groups: dict[tuple[str, str, str, int], list[TimeRatio]] = {}
    for each in found:
        groups.setdefault((each.label, each.task, each.phase, each.length), []).append(each)
    return [pooled(group) for group in groups.values()]


def pooled(ratios: Sequence[TimeRatio]) -> TimeRatio:
    """Return several ratios of one variant, phase and length as one: geometric means of values and of ends.

    The interval is as wide as theirs are, not narrower for their number: runs of one machine share its disturbances.
    """
    lows = [each.low for each in ratios if each.low is not None and each.low > 0]
    highs = [each.high for each in ratios if each.high is not None]
    first, whole = ratios[0], len(lows) == len(highs) == len(ratios)
    return TimeRatio(
        label=first.label,
        task=first.task,
        phase=first.phase,
        length=first.length,
        value=geometric_mean([each.value for each in ratios]),
        low=geometric_mean(lows) if whole else None,
        high=geometric_mean(highs) if whole else None,
    )


def at_one_length(ratios: Sequence[TimeRatio], longest: bool = True) -> TimeRatio | None:
    """Return the ratio at the longest length (or the shortest) among `ratios`, pooled over the tasks that have it."""
    if not ratios:
        return None
    length = (max if longest else min)(each.length for each in ratios)
    return pooled([each for each in ratios if each.length == length])
