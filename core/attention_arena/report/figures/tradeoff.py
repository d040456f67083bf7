"""Quality against speed, with memory as area: one panel a task."""

from __future__ import annotations

from typing import Any

import polars as pl

from attention_arena.report.derived.summary import TaskSummary, summarise
from attention_arena.report.figures.figure import Figure
from attention_arena.report.figures.marks import FRONTIER, Mark, Spot, mark_panel, of_variant, put_mark
from attention_arena.report.figures.style import FAINT, INK, Look, add_legend, canvas, log_ticks, looks, verbatim
from attention_arena.report.figures.trivial import trivial_lines
from attention_arena.report.reading.naming import source_mark
from attention_arena.report.reading.results import Results
from attention_arena.report.wording.numbers import count, decimals_for, fixed, size, spread, tick
from attention_arena.statistics import Interval

LARGEST = 420.0
"""Area of the marker that stands for the greatest memory, in square points."""
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
    figure, axes = canvas(len(tasks))
    greatest = frame["peak_memory_bytes"].max()
    for task, panel in zip(tasks, axes, strict=True):
        rows = frame.filter(pl.col("task") == task.label).sort("tokens_per_second").to_dicts()
        _panel(panel, task, rows, colours, greatest)
    present = set(frame["label"])
    add_legend(figure, {label: look for label, look in colours.items() if label in present}, _key(greatest))
    return figure


def _panel(panel: Any, task: TaskSummary, rows: list[dict[str, Any]], colours: dict[str, Look], greatest: Any) -> None:
    frontier = [row for row in rows if row["pareto"]]
    [line] = panel.plot(
        [row["tokens_per_second"] for row in frontier],
        [row["score"] for row in frontier],
        color=INK,
        linewidth=1,
        alpha=0.5,
        zorder=1,
    )
    put_mark(line, Mark(role=FRONTIER))
    decimals = decimals_for([row["score"] for row in rows] + list(task.trivial.values()), task.unit == "%")
    for row in rows:
        with of_variant(panel, row["label"], [_spot(row, decimals)]):
            _point(panel, row, colours[row["label"]], greatest)
    mark_panel(panel, task.label, _told(frontier, decimals))
    trivial_lines(panel, task, rows)
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(log_ticks([row["tokens_per_second"] for row in rows]))
    panel.xaxis.set_major_formatter(lambda value, _: tick(value))
    panel.xaxis.set_minor_formatter("")
    panel.margins(0.15)
    panel.set_title(verbatim(task.label + source_mark(task.source)), fontsize="medium")
    panel.set_xlabel("training tokens per second")
    panel.set_ylabel("\n".join(verbatim(part) for part in task.measured_in.split(", ")))
    if task.higher_is_better is False:
        panel.invert_yaxis()


def _spot(row: dict[str, Any], decimals: int) -> Spot:
    """Return what is to be read at a point; the score is written as the tables write it."""
    score = fixed(row["score"], decimals)
    interval = spread(Interval(row["score"], row["low"], row["high"], 0, ""), decimals)
    unit = "%" if row["unit"] == "%" else ""
    measured = [part for part in (row["metric"].replace("_", " "), score, interval, unit) if part]
    parts = [" ".join(measured), f"{count(row['tokens_per_second'])} tokens/s"]
    if row["peak_memory_bytes"]:
        parts.append(f"peak memory {size(row['peak_memory_bytes'])}")
    return Spot(row["tokens_per_second"], row["score"], ", ".join(parts))


def _told(frontier: list[dict[str, Any]], decimals: int) -> str:
    """Say what the frontier consists of, from the best score to the highest speed."""
    points = [f"{row['label']} ({_spot(row, decimals).text})" for row in frontier]
    return f"Not beaten in both score and speed, by rising speed: {'; '.join(points)}."


def _point(panel: Any, row: dict[str, Any], look: Look, greatest: Any) -> None:
    memory = row["peak_memory_bytes"]
    x, y = row["tokens_per_second"], row["score"]
    if row["low"] is not None:
        panel.errorbar(
            x, y, [[y - row["low"]], [row["high"] - y]], fmt="none", ecolor=look.colour, elinewidth=1.2, zorder=2
        )
    panel.scatter(
        x,
        y,
        s=LARGEST * memory / greatest if memory and greatest else LARGEST / 6,
        color=look.colour,
        marker=look.marker,
        edgecolors=INK,
        linewidths=0.6,
        alpha=0.9,
        zorder=3,
    )


def _key(greatest: Any) -> list[Any]:
    """Return legend entries for what is not a variant."""
    from matplotlib.lines import Line2D

    lines = [
        Line2D([], [], color=INK, alpha=0.5, linewidth=1, label="Pareto frontier"),
        Line2D([], [], color=INK, linestyle="--", linewidth=0.9, label="needs no model"),
    ]
    sizes = [greatest, greatest / 4] if greatest else []
    return lines + [_memory(each, greatest) for each in sizes]


def _memory(amount: float, greatest: float) -> Any:
    from matplotlib.lines import Line2D

    side = (LARGEST * amount / greatest) ** 0.5
    label = f"peak memory {size(amount)}"
    return Line2D([], [], linestyle="", marker="o", color=FAINT, markeredgecolor=INK, markersize=side, label=label)


TRADEOFF = Figure(
    name="quality_speed_memory",
    title="Quality, speed and memory",
    caption=(
        "Each mark is a variant: further right trains faster, further up scores better (an axis where lower is better "
        "is turned over), and its area is peak memory. Bars are 95 % intervals; the line joins variants that no other "
        "one beats in both score and speed; dashed lines are scores that need no model."
    ),
    draw=draw,
    data=data,
    nothing="No run has both a score and a training speed yet.",
)
