"""One task's panel of quality against speed: a mark for each variant, the frontier, and what needs no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from attention_arena.report.derived.summary import TaskSummary
from attention_arena.report.figures.marks import FRONTIER, Mark, Spot, mark_panel, of_variant, put_mark
from attention_arena.report.figures.style import INK, Look, log_ticks, verbatim
from attention_arena.report.figures.trivial import Line, name_lines, trivial_lines
from attention_arena.report.reading.naming import source_mark
from attention_arena.report.wording.numbers import count, decimals_for, fixed, size, spread, tick
from attention_arena.statistics import Interval

Rows = list[dict[str, Any]]


class Size(NamedTuple):
    """How large a panel is drawn."""

    wide: int
    """Panels in a row."""
    width: float
    height: float
    """Inches."""
    largest: float
    """Area of the marker that stands for the greatest memory, in square points."""
    font: float
    """Points, of the labels."""
    speed: str
    """Name of the horizontal axis."""


FEW = Size(2, 3.3, 2.3, 420.0, 8.5, "training tokens per second")
MANY = Size(4, 1.65, 1.45, 170.0, 7.5, "tokens per second")


class Marks(NamedTuple):
    """How points are drawn: each variant's look, the memory of the largest, and the size of panels."""

    colours: Mapping[str, Look]
    greatest: Any
    size: Size

    def area(self, memory: float | None) -> float:
        """Return the area of a mark, in square points."""
        return self.size.largest * (memory / self.greatest if memory and self.greatest else 1 / 6)


def draw_panel(panel: Any, task: TaskSummary, rows: Rows, marks: Marks) -> list[Line]:
    """Draw the rows of one task, by rising speed, and return the lines of what needs no model."""
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
            _point(panel, row, marks)
    mark_panel(panel, task.label, _told(frontier, decimals))
    lines = trivial_lines(panel, task, rows)
    _axes(panel, task, [row["tokens_per_second"] for row in rows], marks.size)
    return lines


def _axes(panel: Any, task: TaskSummary, speeds: Sequence[float], dimensions: Size) -> None:
    from matplotlib.ticker import MaxNLocator

    panel.set_xscale("log")
    panel.xaxis.set_major_locator(_at_the_ends(speeds) if dimensions is MANY else log_ticks(speeds))
    panel.xaxis.set_major_formatter(lambda value, _: tick(value))
    panel.xaxis.set_minor_formatter("")
    panel.margins(0.15)
    panel.set_title(verbatim(task.label + source_mark(task.source)), fontsize=dimensions.font)
    panel.set_xlabel(dimensions.speed, fontsize=dimensions.font, labelpad=2)
    panel.set_ylabel(verbatim(task.measured_briefly), fontsize=dimensions.font, labelpad=2)
    panel.tick_params(labelsize=dimensions.font, length=2.5, pad=2)
    panel.tick_params(which="minor", length=1.5)
    if dimensions is MANY:
        panel.yaxis.set_major_locator(MaxNLocator(4))
    if task.higher_is_better is False:
        panel.invert_yaxis()


def _at_the_ends(values: Sequence[float]) -> Any:
    """Return a locator of two round numbers: a small panel has no room for the labels of more."""
    from matplotlib.ticker import FixedLocator

    return FixedLocator(sorted({float(f"{end:.2g}") for end in (min(values), max(values))}))


def name_all(figure: Any, lines: Sequence[tuple[Any, Rows, list[Line]]], marks: Marks) -> None:
    """Name the lines of what needs no model, now that it is known where everything stands."""
    figure.draw_without_rendering()
    for panel, rows, found in lines:
        name_lines(panel, found, [box for row in rows for box in _boxes(panel, row, marks)])


def _boxes(panel: Any, row: dict[str, Any], marks: Marks) -> list[Any]:
    """Return what a variant's mark and its interval cover, in pixels."""
    from matplotlib.transforms import Bbox

    x = row["tokens_per_second"]
    side = marks.area(row["peak_memory_bytes"]) ** 0.5 / 2 * panel.figure.dpi / 72
    ends = [row["score"]] if row["low"] is None else [row["score"], row["low"], row["high"]]
    middle, *others = panel.transData.transform([(x, end) for end in ends]).tolist()
    boxes = [Bbox.from_extents(middle[0] - side, middle[1] - side, middle[0] + side, middle[1] + side)]
    if others:
        boxes.append(Bbox([[middle[0] - 1, others[0][1]], [middle[0] + 1, others[1][1]]]))
    return boxes


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


def _point(panel: Any, row: dict[str, Any], marks: Marks) -> None:
    look = marks.colours[row["label"]]
    x, y = row["tokens_per_second"], row["score"]
    if row["low"] is not None:
        panel.errorbar(
            x, y, [[y - row["low"]], [row["high"] - y]], fmt="none", ecolor=look.colour, elinewidth=1.2, zorder=2
        )
    panel.scatter(
        x,
        y,
        s=marks.area(row["peak_memory_bytes"]),
        color=look.colour,
        marker=look.marker,
        edgecolors=INK,
        linewidths=0.6,
        alpha=0.9,
        zorder=3,
    )
