"""Learning curves: the score on validation by step, and by second."""

from __future__ import annotations

from typing import Any

import polars as pl

from attention_arena.report.derived.summary import TaskSummary, summarise
from attention_arena.report.figures.figure import Figure
from attention_arena.report.figures.marks import Spot, mark_panel, of_variant
from attention_arena.report.figures.style import INK, Look, add_legend, canvas, looks, verbatim
from attention_arena.report.reading.naming import source_mark, task_labels
from attention_arena.report.reading.results import Results
from attention_arena.report.wording.numbers import significant, tick

MAX_POINTS, MAX_SPOTS = 200, 50
"""Points of one line that are drawn, more of which cannot be told apart at this width, and those that can be read."""
ALL_POINTS, ALL_SPOTS = 10_000, 6_000
"""Of all lines together, so that a page stays small however many there are."""
COLUMNS = {
    "task": pl.String,
    "label": pl.String,
    "metric": pl.String,
    "step": pl.Int64,
    "seconds": pl.Float64,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "seeds": pl.Int64,
}


def data(results: Results) -> pl.DataFrame:
    """Return, for each task, variant and step, the mean validation score over seeds, its lowest and its highest."""
    names = task_labels((task, options) for task, options in results.runs.select("task", "task_options").iter_rows())
    frames = [pl.DataFrame(schema=COLUMNS)]
    points = results.curves.filter((pl.col("split") == "validation") & pl.col("value").is_finite())
    for task in summarise(results).tasks:
        keys = [key for key, label in names.items() if label == task.label]
        mine = points.filter(pl.any_horizontal(*(_is_task(*key) for key in keys)))
        metric = task.metric or _compared(mine)
        frames.append(
            mine.filter(pl.col("metric") == metric)
            .group_by("label", "metric", "step", maintain_order=True)
            .agg(
                pl.col("seconds").mean(),
                pl.col("value").mean(),
                low=pl.col("value").min(),
                high=pl.col("value").max(),
                seeds=pl.col("value").len().cast(pl.Int64),
            )
            .with_columns(task=pl.lit(task.label))
            .select(*COLUMNS)
            .sort("label", "step")
        )
    return pl.concat(frames)


def _is_task(task: str, options: str | None) -> pl.Expr:
    return (pl.col("task") == task) & pl.col("task_options").eq_missing(pl.lit(options))


def _compared(points: pl.DataFrame) -> str:
    """Return the metric to draw where no run has a score: any but the loss, if there is one."""
    found = [metric for metric in points["metric"].unique(maintain_order=True) if metric != "loss"]
    return str(found[0]) if found else "loss"


def draw(results: Results) -> Any:
    """Draw two panels for each task."""
    frame = data(results)
    summaries = summarise(results)
    colours = looks(summaries.labels)
    tasks = [task for task in summaries.tasks if task.label in set(frame["task"])]
    figure, axes = canvas(2 * len(tasks))
    n_lines = max(1, len(frame.select("task", "label").unique()))
    for index, task in enumerate(tasks):
        rows = frame.filter(pl.col("task") == task.label)
        for axis, panel in (("step", axes[2 * index]), ("seconds", axes[2 * index + 1])):
            for label in summaries.labels:
                drawn = _thinned(rows.filter(pl.col("label") == label), min(MAX_POINTS, ALL_POINTS // n_lines))
                with of_variant(panel, label, _spots(_thinned(drawn, min(MAX_SPOTS, ALL_SPOTS // n_lines)), axis)):
                    _line(panel, drawn, axis, colours[label])
            _label(panel, task, axis, str(rows["metric"][0]))
            mark_panel(panel, task.label, _told(task, rows, axis))
    present = set(frame["label"])
    add_legend(figure, {label: look for label, look in colours.items() if label in present})
    return figure


def _thinned(rows: pl.DataFrame, most: int) -> pl.DataFrame:
    """Return about as many of a line's rows; the last one is read off, so the thinning starts there."""
    return rows if rows.is_empty() else rows.reverse().gather_every(-(-len(rows) // max(10, most))).reverse()


def _spots(rows: pl.DataFrame, axis: str) -> list[Spot]:
    return [
        Spot(
            row[axis],
            row["value"],
            f"step {row['step']:,}, {significant(row['seconds'])} s: {significant(row['value'], 4)}"
            + (
                f" ({row['seeds']} seeds, {significant(row['low'], 4)} to {significant(row['high'], 4)})"
                * (row["seeds"] > 1)
            ),
        )
        for row in rows.iter_rows(named=True)
    ]


def _told(task: TaskSummary, rows: pl.DataFrame, axis: str) -> str:
    """Say where the lines end, the best first."""
    last = rows.sort("step").group_by("label", maintain_order=True).last()
    last = last.sort("value", descending=task.higher_is_better is not False)
    ends = [f"{row['label']} {significant(row['value'])}" for row in last.iter_rows(named=True)]
    return f"Validation {rows['metric'][0].replace('_', ' ')} by {axis}, at the end: {', '.join(ends)}."


def _line(panel: Any, rows: pl.DataFrame, axis: str, look: Look) -> None:
    if rows.is_empty():
        return
    x = rows[axis].to_numpy()
    panel.fill_between(x, rows["low"].to_numpy(), rows["high"].to_numpy(), color=look.colour, alpha=0.2, linewidth=0)
    panel.plot(
        x,
        rows["value"].to_numpy(),
        color=look.colour,
        marker=look.marker,
        markersize=5,
        markevery=max(1, len(rows) // 8),
        linewidth=1.5,
    )


def _label(panel: Any, task: TaskSummary, axis: str, metric: str) -> None:
    for value in task.trivial.values():
        low, high = panel.get_ylim()
        if low <= value <= high:
            panel.axhline(value, linestyle="--", linewidth=0.9, alpha=0.65, color=INK, zorder=0)
    by = "step" if axis == "step" else "second"
    panel.set_title(verbatim(f"{task.label}{source_mark(task.source)}, by {by}"), fontsize="medium")
    panel.set_xlabel("training step" if axis == "step" else "seconds of training")
    panel.xaxis.set_major_formatter(lambda value, _: tick(value))
    panel.set_ylabel(verbatim(f"validation {metric.replace('_', ' ')}"))


LEARNING = Figure(
    name="learning_curves",
    title="Learning curves",
    caption=(
        "Score on validation while training, by step and by second of wall time. A line is the mean over seeds, its "
        "band reaches from the lowest seed to the highest; dashed lines are scores that need no model."
    ),
    draw=draw,
    data=data,
    nothing="No run has a point on its learning curve yet.",
)
