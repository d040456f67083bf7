"""Scores of runs with their intervals: of one trained model over its test examples, and over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from attention_arena.statistics import Interval, score_interval, wilson_interval

PHASES = {False: "test, best step", True: "test, last step"}
"""Whether a score is of the last step -> phase of the measurement that holds its interval."""
COLUMNS = {False: "value", True: "value_last"}


class ScoreReader:
    """Reads a run's score from its row of the runs table, and its interval from the measurements table."""

    def __init__(self, measurements: pl.DataFrame) -> None:
        rows = measurements.filter(pl.col("phase").is_in(list(PHASES.values())) & pl.col("low").is_not_null())
        keys = ("study", "profile", "run", "measure", "phase", "low", "high")
        self.ends = {row[:5]: row[5:] for row in rows.select(keys).iter_rows()}

    def of_run(self, row: Mapping[str, Any], at_last_step: bool = False) -> Interval:
        """Return one run's score; without an interval on record, a share of independent examples has Wilson's."""
        value = row[COLUMNS[at_last_step]]
        key = (row["study"], row["profile"], row["run"], row["metric"], PHASES[at_last_step])
        low, high = self.ends.get(key, (None, None))
        whole = whole_of(row)
        if low is not None and high is not None:
            return Interval(value, low, high, row["examples"] or 1, "examples")
        if whole is not None and row["examples"] and 0.0 <= value <= whole:
            return wilson_interval(value / whole, row["examples"]).times(whole)._replace(value=value)
        return Interval(value, None, None, 1, "none")

    def over_seeds(self, rows: Sequence[Mapping[str, Any]], at_last_step: bool = False) -> Interval:
        """Return the score of one variant on one task over its seeds."""
        within = [self.of_run(row, at_last_step) for row in rows]
        return score_interval([each.value for each in within], within, whole_of(rows[0]))


def whole_of(row: Mapping[str, Any]) -> float | None:
    """Return what all correct would be, where the metric is a share."""
    if "accuracy" not in (row["metric"] or ""):
        return None
    return 100.0 if row["unit"] == "%" else 1.0
