"""What was measured over lengths: one row for each point of a cost curve, or what stands in its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import polars as pl

from attention_arena.report.reading.naming import task_labels
from attention_arena.report.reading.results import Results, once
from attention_arena.statistics import Point


class Cost(NamedTuple):
    """A measure that is a cost."""

    kind: Literal["time", "memory"]
    """Which claim it is held against."""
    title: str
    """In a table's head: `time`."""
    per: Literal["step", "token"] = "step"
    """What one value is the cost of."""


COSTS: Mapping[str, Cost] = {
    "step_time": Cost("time", "time"),
    "flops_per_token": Cost("time", "FLOPs", per="token"),
    "saved_for_backward": Cost("memory", "saved for backward"),
    "peak_memory": Cost("memory", "peak memory"),
    "peak_resident": Cost("memory", "peak memory"),
}
"""The costs whose growth is reported, in its order."""
RATIO = "time_ratio"
"""Time over the baseline's, the two timed in turn: below 1 is faster."""
LINE = ("task", "label", "measure", "phase")
"""What tells one curve from another."""
COLUMNS = {
    "task": pl.String,
    "label": pl.String,
    "measure": pl.String,
    "phase": pl.String,
    "unit": pl.String,
    "length": pl.Int64,
    "batch_size": pl.Int64,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "samples": pl.Int64,
    "status": pl.String,
    "detail": pl.String,
}


@once
def cost_points(results: Results) -> pl.DataFrame:
    """Return costs and time ratios by length, in `COLUMNS`: task (its label in reports), label, measure, phase, unit,
    length and batch size, then the mean over runs with its interval, the number of samples, and the status.

    A point without a value has its status (oom, timeout, unsupported, failed) and the reason. Rows of a single layer,
    head or position are none of a model's cost, and left out.
    """
    whole = pl.all_horizontal(pl.col("layer", "head", "position").is_null())
    rows = results.measurements.filter(
        pl.col("measure").is_in([*COSTS, RATIO]) & pl.col("length").is_not_null() & whole
    )
    names = task_labels(results.runs.select("task", "task_options").iter_rows())
    labels = [names[key] for key in rows.select("task", "task_options").iter_rows()]
    usable = pl.col("value").is_finite() & (pl.col("value") > 0)
    # A value that has no logarithm is done, and yet no point.
    return (
        rows.with_columns(
            task=pl.Series(labels, dtype=pl.String),
            **{name: pl.when(usable).then(pl.col(name)) for name in ("value", "low", "high")},
        )
        .filter(pl.col("value").is_not_null() | (pl.col("status") != "done"))
        .group_by(*LINE, "unit", "length", maintain_order=True)
        .agg(
            pl.col("batch_size").max(),
            pl.col("value", "low", "high").mean(),
            pl.col("samples").sum(),
            pl.when(pl.col("value").is_not_null().any())
            .then(pl.lit("done"))
            .otherwise(pl.col("status").first())
            .alias("status"),
            pl.col("detail").drop_nulls().first(),
        )
        .select(*COLUMNS)
        .sort("length", maintain_order=True)
    )


def sequence_costs(line: pl.DataFrame) -> list[Point]:
    """Return a curve as the cost of one sequence at each length that has a value.

    A step holds fewer sequences the longer they are, so a step's cost is divided by its batch size; a token's is
    multiplied by the length. What a step costs however long its sequences are (parameters, the process) is divided with
    the rest, and so grows like the length.
    """
    points = []
    for row in line.drop_nulls("value").iter_rows(named=True):
        share = row["length"] if COSTS[row["measure"]].per == "token" else 1 / (row["batch_size"] or 1)
        ends = (None if row[end] is None else row[end] * share for end in ("low", "high"))
        points.append(Point(row["length"], row["value"] * share, *ends))
    return points


def first_stop(line: pl.DataFrame) -> tuple[int, str] | None:
    """Return the length at which a curve stops having values for good, and its status there; None where it does not."""
    stop = None
    for length, value, status in line.sort("length").select("length", "value", "status").iter_rows():
        if value is not None:
            stop = None
        elif stop is None:
            stop = (int(length), str(status))
    return stop
