"""Quality by task: every variant's score with its interval, beside the scores that need no model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from attention_arena.report.derived.summary import Summary, TaskSummary, summarise
from attention_arena.report.figures.figure import Figure
from attention_arena.report.figures.marks import Mark, Spot, mark_panel, of_variant, put_mark
from attention_arena.report.figures.style import INK, Look, add_legend, canvas, looks, verbatim
from attention_arena.report.reading.naming import source_mark
from attention_arena.report.reading.results import Results
from attention_arena.report.wording.numbers import decimals_for, fixed, spread

ROW = 0.19
"""Inches of a variant's line."""
EDGES = 0.95
"""Inches of a panel above and below its lines."""
COLUMNS = {
    "task": pl.String,
    "label": pl.String,
    "metric": pl.String,
    "unit": pl.String,
    "score": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "basis": pl.String,
    "seeds": pl.Int64,
}


def data(results: Results) -> pl.DataFrame:
    """Return one row for each variant with a score on each task."""
    summaries = summarise(results)
    rows = [
        (task.label, cell.label, task.metric, task.unit, *cell.score[:3], cell.score.basis, cell.n_scored)
        for task in summaries.tasks
        for cell in summaries.of_task(task)
        if cell.score is not None
    ]
    return pl.DataFrame(rows, COLUMNS, orient="row")


def draw(results: Results) -> Any:
    """Draw a panel for each task, in it a line for each variant in the report's order."""
    summaries = summarise(results)
    scored = {task.label: [cell for cell in summaries.of_task(task) if cell.score] for task in summaries.tasks}
    tasks = [task for task in summaries.tasks if scored[task.label]]
    labels = [
        label for label in summaries.labels if any(cell.label == label for each in scored.values() for cell in each)
    ]
    colours = looks(summaries.labels)
    figure, axes = canvas(len(tasks))
    width, height = figure.get_size_inches()
    n_rows = -(-len(tasks) // max(1, round(width / 3.4)))
    figure.set_size_inches(width, n_rows * (EDGES + ROW * len(labels)) if len(labels) > 8 else height)
    for task, panel in zip(tasks, axes, strict=True):
        _panel(panel, task, scored[task.label], labels, colours)
    add_legend(figure, {label: colours[label] for label in labels})
    return figure


def _panel(
    panel: Any, task: TaskSummary, cells: Sequence[Summary], labels: Sequence[str], colours: dict[str, Look]
) -> None:
    values = [cell.score.value for cell in cells if cell.score]
    decimals = decimals_for(values + list(task.trivial.values()), task.unit == "%")
    for cell in cells:
        place = labels.index(cell.label)
        spot = Spot(values[cells.index(cell)], place, _told(cell, task, decimals))
        with of_variant(panel, cell.label, [spot]):
            _point(panel, cell, place, colours[cell.label])
    for name, value in task.trivial.items():
        line = panel.axvline(value, color=INK, linestyle="--", linewidth=0.9, alpha=0.65, zorder=0)
        told = f"{name}, which needs no model: {fixed(value, decimals)}{' %' if task.unit == '%' else ''}"
        put_mark(line, Mark(spots=[Spot(value, (len(labels) - 1) / 2, told)]))
    panel.set_ylim(len(labels) - 0.4, -0.6)
    panel.set_yticks([])
    panel.grid(visible=False, axis="y")
    panel.spines["left"].set_visible(False)
    panel.set_title(verbatim(task.label + source_mark(task.source)), fontsize="medium")
    panel.set_xlabel(verbatim(task.measured_in))
    ordered = sorted(cells, key=lambda cell: values[cells.index(cell)], reverse=task.higher_is_better is not False)
    mark_panel(panel, task.label, "; ".join(f"{cell.label}: {_told(cell, task, decimals)}" for cell in ordered))


def _point(panel: Any, cell: Summary, place: int, look: Look) -> None:
    assert cell.score is not None
    panel.plot([cell.score.value], [place], color=look.colour, marker=look.marker, markersize=6.5)
    if cell.score.low is not None and cell.score.high is not None:
        panel.hlines(place, cell.score.low, cell.score.high, color=look.colour, linewidth=1.8)


def _told(cell: Summary, task: TaskSummary, decimals: int) -> str:
    """Return a score as the tables write it."""
    assert cell.score is not None
    unit = "%" if task.unit == "%" else ""
    parts = [
        (task.metric or "").replace("_", " "),
        fixed(cell.score.value, decimals),
        spread(cell.score, decimals),
        unit,
    ]
    return " ".join(part for part in parts if part)


QUALITY = Figure(
    name="quality_by_task",
    title="Quality by task",
    caption="The score on test of every variant, with its 95 % interval; dashed lines are scores that need no model.",
    draw=draw,
    data=data,
    nothing="No run has a score yet.",
)
