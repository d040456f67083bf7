"""What the diagnostic figures share: their rows of the measurements table, and small panels side by side."""

from __future__ import annotations

import math
import textwrap
from typing import Any

import polars as pl

from attention_arena.report.figures.style import canvas, verbatim
from attention_arena.report.reading.naming import task_labels
from attention_arena.report.reading.results import Results

WIDE = 3
"""Small panels in a row."""
LETTERS_PER_INCH = 10
"""About how many small bold letters fit in an inch."""


def labelled(results: Results, frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame with `task` and `task_options` whose `task` is the task's label in reports."""
    names = task_labels(results.runs.select("task", "task_options").iter_rows())
    labels = [names[key] for key in frame.select("task", "task_options").iter_rows()]
    return frame.with_columns(task=pl.Series(labels, dtype=pl.String))


def measured(results: Results, measure: str) -> pl.DataFrame:
    """Return the rows of a measure that have a value, each task by its label."""
    return labelled(results, results.measurements.filter((pl.col("measure") == measure) & pl.col("value").is_finite()))


def small_panels(n_panels: int, width: float, height: float, wide: int = WIDE) -> tuple[Any, list[Any]]:
    """Return a figure with room for so many panels of `width` x `height` inches, and their axes."""
    figure, axes = canvas(n_panels, wide)
    n_columns = min(n_panels, wide)
    figure.set_size_inches(width * n_columns, height * math.ceil(n_panels / n_columns))
    for panel in axes:
        panel.tick_params(labelsize="small", length=3)
    return figure, axes


def set_title(panel: Any, text: str, width: float) -> None:
    """Write `text` above a panel `width` inches wide, in as many lines as it needs."""
    lines = textwrap.wrap(" ".join(text.split()), max(12, int(width * LETTERS_PER_INCH))) or [""]
    panel.set_title("\n".join(verbatim(line) for line in lines), fontsize="small")
