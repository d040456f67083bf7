"""Quality against speed, with memory as area: one panel a task."""

from __future__ import annotations

from typing import Any

import polars as pl

from attention_arena.report.derived.summary import TaskSummary, summarise
from attention_arena.report.figures.figure import Figure
from attention_arena.report.figures.style import FAINT, INK, add_legend, canvas, looks
from attention_arena.report.figures.tradeoff_panel import FEW, MANY, Marks, draw_panel, name_all
from attention_arena.report.figures.trivial import BEST, WEAKEST
from attention_arena.report.reading.results import Results
from attention_arena.report.wording.numbers import size
from attention_arena.statistics import Interval

MOST_FEW = 3
"""Tasks that have large panels, with names at the lines of what needs no model."""
COLUMNS = {
    "task": pl.String,
    "source": pl.String,
    "label": pl.String,
    "metric": pl.String,
    "unit": pl.String,
    "higher_is_better": pl.Boolean,
    "score": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "basis": pl.String,
    "tokens_per_second": pl.Float64,
    "peak_memory_bytes": pl.Float64,
    "pareto": pl.Boolean,
}


def data(results: Results) -> pl.DataFrame:
    """Return one row for each variant on each task that has both a score and a throughput."""
    rows: list[dict[str, Any]] = []
    summaries = summarise(results)
    for task in summaries.tasks:
        found = [cell for cell in summaries.of_task(task) if cell.score and cell.cost("tokens_per_second")]
        points = [(cell.cost("tokens_per_second") or 0.0, (cell.score or NOTHING).value) for cell in found]
        for cell, point in zip(found, points, strict=True):
            score = cell.score or NOTHING
            rows.append(
                {
                    "task": task.label,
                    "source": task.source,
                    "label": cell.label,
                    "metric": task.metric,
                    "unit": task.unit,
                    "higher_is_better": task.higher_is_better,
                    "score": score.value,
                    "low": score.low,
                    "high": score.high,
                    "basis": score.basis,
                    "tokens_per_second": point[0],
                    "peak_memory_bytes": cell.cost("peak_memory_bytes"),
                    "pareto": not any(_dominates(other, point, task) for other in points),
                }
            )
    return pl.DataFrame(rows, COLUMNS)


NOTHING = Interval(0.0, None, None, 0, "none")


def _dominates(other: tuple[float, float], point: tuple[float, float], task: TaskSummary) -> bool:
    """Whether `other` is at least as fast and as good, and better in one of the two."""
    no_worse = other[0] >= point[0] and not task.better(point[1], other[1])
    return no_worse and (other[0] > point[0] or task.better(other[1], point[1]))


def draw(results: Results) -> Any:
    """Draw a panel for each task."""
    frame = data(results)
    summaries = summarise(results)
    colours = looks(summaries.labels)
    tasks = [task for task in summaries.tasks if task.label in set(frame["task"])]
    dimensions = FEW if len(tasks) <= MOST_FEW else MANY
    figure, axes = canvas(len(tasks), dimensions.wide)
    n_columns = min(len(tasks), dimensions.wide)
    figure.set_size_inches(dimensions.width * n_columns, dimensions.height * -(-len(tasks) // n_columns))
    marks = Marks(colours, frame["peak_memory_bytes"].max(), dimensions)
    lines = []
    for task, panel in zip(tasks, axes, strict=True):
        rows = frame.filter(pl.col("task") == task.label).sort("tokens_per_second").to_dicts()
        lines.append((panel, rows, draw_panel(panel, task, rows, marks)))
    present = set(frame["label"])
    add_legend(figure, {label: look for label, look in colours.items() if label in present}, _key(marks))
    if dimensions is FEW:
        name_all(figure, lines, marks)
    return figure


def _key(marks: Marks) -> list[Any]:
    """Return legend entries for what is not a variant."""
    from matplotlib.lines import Line2D

    lines = [
        Line2D([], [], color=INK, alpha=0.5, linewidth=1, label="Pareto frontier"),
        Line2D([], [], color=INK, linestyle=BEST, linewidth=0.9, label="best without a model"),
        Line2D([], [], color=INK, linestyle=WEAKEST, linewidth=0.9, label="weakest without a model"),
    ]
    sizes = [marks.greatest, marks.greatest / 4] if marks.greatest else []
    return lines + [
        Line2D(
            [],
            [],
            linestyle="",
            marker="o",
            color=FAINT,
            markeredgecolor=INK,
            markersize=marks.area(each) ** 0.5,
            label=f"peak memory {size(each)}",
        )
        for each in sizes
    ]


TRADEOFF = Figure(
    name="quality_speed_memory",
    title="Quality, speed and memory",
    caption=(
        "Further right trains faster, further up scores better (an axis where lower is better is turned over), and a "
        "larger mark needs more memory. Bars are 95 % intervals, and the solid line joins variants that no other one "
        "beats in both score and speed."
    ),
    draw=draw,
    data=data,
    nothing="No run has both a score and a training speed yet.",
)
