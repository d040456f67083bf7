"""How well language models predict text, from what the measures of perplexity found: one row a protocol or verdict."""

from __future__ import annotations

import polars as pl

from attention_arena.report.reading.naming import task_labels
from attention_arena.report.reading.results import Results

PROTOCOL_COLUMNS = {
    "task": pl.String,
    "label": pl.String,
    "protocol": pl.String,
    "metric": pl.String,
    "unit": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "tokens": pl.Int64,
    "ms_per_token": pl.Float64,
    "ms_low": pl.Float64,
    "ms_high": pl.Float64,
    "batch_size": pl.Int64,
    "length": pl.Int64,
}
CONTEXT_COLUMNS = {
    "task": pl.String,
    "label": pl.String,
    "threshold": pl.String,
    "tokens": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "detail": pl.String,
}
RUN = ("study", "profile", "run")


def labelled(results: Results, frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame of runs or measurements whose `task` is the task's label in reports."""
    names = task_labels(results.runs.select("task", "task_options").iter_rows())
    labels = [names[key] for key in frame.select("task", "task_options").iter_rows()]
    return frame.with_columns(task=pl.Series(labels, dtype=pl.String))


def by_protocol(results: Results) -> pl.DataFrame:
    """Return what each variant scored by the compared metric under each protocol, and its time per scored token.

    `tokens` were scored, `batch_size` sequences of `length` tokens at a time; `low` to `high` is the 95 % interval over
    blocks of the text, `ms_low` to `ms_high` that of the median over batches.
    """
    found = labelled(results, results.measurements.filter(pl.col("value").is_finite()))
    times = found.filter(pl.col("measure") == "evaluation_time").select(
        *RUN, "phase", ms_per_token="value", ms_low="low", ms_high="high"
    )
    compared = results.runs.select(*RUN, measure="metric")
    return (
        found.join(compared, on=[*RUN, "measure"], maintain_order="left")
        .join(times, on=[*RUN, "phase"], maintain_order="left")
        .rename({"phase": "protocol", "measure": "metric", "samples": "tokens"})
        .select(*PROTOCOL_COLUMNS)
        .cast(PROTOCOL_COLUMNS)  # type: ignore[arg-type]
    )


def effective_contexts(results: Results) -> pl.DataFrame:
    """Return how many tokens of context each variant makes use of; `threshold` is the share that counts as a gain.

    `high` is null where the end of the 95 % interval is beyond what was measured; `detail` then says more.
    """
    found = labelled(results, results.measurements.filter(pl.col("measure") == "effective_context"))
    return (
        found.filter(pl.col("value").is_not_null())
        .rename({"phase": "threshold", "value": "tokens"})
        .select(*CONTEXT_COLUMNS)
    )
