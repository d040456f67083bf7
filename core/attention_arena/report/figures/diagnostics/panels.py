"""What the diagnostic figures share: their rows of the measurements table, and small panels side by side."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import polars as pl

from attention_arena.report.figures.style import canvas, verbatim
from attention_arena.report.reading.naming import task_labels
from attention_arena.report.reading.results import Results

WIDE = 3
"""Small panels in a row."""
LETTERS_PER_INCH = 10
"""About how many small bold letters fit in an inch."""
LINE = 0.15
"""Inches of a title's line."""


def labelled(results: Results, frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame with `task` and `task_options` whose `task` is the task's label in reports."""
    names = task_labels(results.runs.select("task", "task_options").iter_rows())
    labels = [names[key] for key in frame.select("task", "task_options").iter_rows()]
    return frame.with_columns(task=pl.Series(labels, dtype=pl.String))


def measured(results: Results, measure: str) -> pl.DataFrame:
    """Return the rows of a measure that have a value, each task by its label."""
    return labelled(results, results.measurements.filter((pl.col("measure") == measure) & pl.col("value").is_finite()))


def small_panels(titles: Sequence[str], width: float, height: float, wide: int = WIDE) -> tuple[Any, list[Any]]:
    """Return a figure with a panel `width` x `height` inches below each title, and their axes.

    A title takes as many lines as it needs; those beyond the first add to the height.
    """
    wrapped = [_wrapped(title, width) for title in titles]
    figure, axes = canvas(len(titles), wide)
    n_columns = min(len(titles), wide)
    tall = height + LINE * (max(len(lines) for lines in wrapped) - 1)
    figure.set_size_inches(width * n_columns, tall * math.ceil(len(titles) / n_columns))
    for lines, panel in zip(wrapped, axes, strict=True):
        panel.tick_params(labelsize="small", length=3)
        panel.set_title("\n".join(verbatim(line) for line in lines), fontsize="small")
    return figure, axes


def _wrapped(text: str, width: float) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), max(12, int(width * LETTERS_PER_INCH))) or [""]
