"""How much fits into memory: the largest batch and the largest length, as a page lists them."""

from __future__ import annotations

import polars as pl

from attention_arena.report.reading.naming import task_labels
from attention_arena.report.reading.results import Results

KINDS = {"largest_batch": "largest batch", "largest_length": "largest length"}


def capacities(results: Results) -> list[dict[str, str]]:
    """Return what was searched for, each as text: label, task, what, phase, length, value, detail."""
    rows = results.measurements.filter(pl.col("measure").is_in(list(KINDS)))
    names = task_labels(results.runs.select("task", "task_options").iter_rows())
    return [
        {
            "label": row["label"],
            "task": names[row["task"], row["task_options"]],
            "what": KINDS[row["measure"]],
            "phase": row["phase"],
            "length": "" if row["length"] is None else f"{row['length']:,}",
            "value": row["status"] if row["value"] is None else f"{row['value']:,.0f}",
            "unit": "" if row["value"] is None else row["unit"],
            "detail": row["detail"] or "",
        }
        for row in rows.iter_rows(named=True)
    ]
