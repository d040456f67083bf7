"""Scores that need no model, as lines in a panel of scores against speed, named where a name covers nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import shorten
from typing import Any, Literal, NamedTuple

from attention_arena.report.derived.summary import TaskSummary
from attention_arena.report.figures.marks import Mark, Spot, put_mark
from attention_arena.report.figures.style import INK, verbatim
from attention_arena.report.wording.numbers import decimals_for, fixed

FARTHEST = 4.0
"""Spans of a panel's scores within which a score that needs no model is drawn as a line."""
LETTERS = 40
"""Of a line's name; with what may follow, a panel is about as wide."""
Style = Literal["--", ":"]
BEST: Style = "--"
WEAKEST: Style = ":"
"""How the lines run."""
GAP = 2.0
"""Points between a name and its line, and the least between a name and whatever else is drawn."""


class Line(NamedTuple):
    """A score that needs no model; `beyond` says on which side it lies off the axis, if it does."""

    name: str
    value: float
    style: Style
    beyond: str = ""


def trivial_lines(panel: Any, task: TaskSummary, rows: list[dict[str, Any]]) -> list[Line]:
    """Draw the weakest and the best score that need no model, and return them; the tables have those between.

    One so far off that it would flatten the panel is not drawn.
    """
    lowest, highest = min(row["low"] or row["score"] for row in rows), max(row["high"] or row["score"] for row in rows)
    reach = FARTHEST * max(highest - lowest, 0.05 * abs(highest))
    decimals = decimals_for([row["score"] for row in rows] + list(task.trivial.values()), task.unit == "%")
    speeds = [row["tokens_per_second"] for row in rows]
    lines = []
    for name, value, style in _ends(task):
        if lowest - reach <= value <= highest + reach:
            drawn = panel.axhline(value, color=INK, linestyle=style, linewidth=0.9, alpha=0.65, zorder=0)
            told = f"{name}, which needs no model: {fixed(value, decimals)}{' %' if task.unit == '%' else ''}"
            put_mark(
                drawn, Mark(spots=[Spot(speed, value, told) for speed in dict.fromkeys((max(speeds), min(speeds)))])
            )
            lines.append(Line(name, value, style))
        else:
            above = (value > highest) == (task.higher_is_better is not False)
            lines.append(Line(f"{name}: {fixed(value, decimals)}", value, style, "top" if above else "bottom"))
    return lines


def _ends(task: TaskSummary) -> list[tuple[str, float, Style]]:
    """Return the best and the weakest score without a model: name, value, and how its line runs."""
    found = list(task.trivial.items())
    return [(*each, style) for each, style in zip(found[:-2:-1] + found[:-1][:1], (BEST, WEAKEST), strict=False)]


def name_lines(panel: Any, lines: Sequence[Line], taken: Sequence[Any]) -> None:
    """Write each line's name into a panel that is laid out, where it covers nothing; leave it out where it would.

    `taken` are the boxes of what is drawn there, in pixels. A line off the axis is named at the panel's edge.
    """
    boxes = [each.padded(GAP * panel.figure.dpi / 72) for each in taken]
    frame = panel.get_window_extent()
    for line in lines:
        for place in _places(line):
            text = panel.annotate(*place.args, **place.style)
            # Otherwise a long name would take the panel's room, down to nothing.
            text.set_in_layout(False)
            box = text.get_window_extent()
            if _inside(box, frame) and not box.count_overlaps(boxes) and not _struck(panel, box, lines):
                boxes.append(box.padded(GAP * panel.figure.dpi / 72))
                break
            text.remove()


class Place(NamedTuple):
    """Where a name may stand: what `Axes.annotate` takes."""

    args: tuple[str, tuple[float, float]]
    style: dict[str, Any]


def _places(line: Line) -> Iterator[Place]:
    name = shorten(line.name, LETTERS, placeholder="…")
    text = verbatim(f"{name}, off the axis" if line.beyond else name)
    edge = {"top": 1.0, "bottom": 0.0}
    first = line.style == BEST
    sides = [line.beyond == "bottom"] if line.beyond else [first, not first]
    for above in sides:
        for x, align in ((1.0, "right"), (0.0, "left"), (0.5, "center")):
            yield Place(
                (text, (x, edge.get(line.beyond, line.value))),
                {
                    "xycoords": ("axes fraction", "axes fraction" if line.beyond else "data"),
                    "xytext": (3 * (1 - 2 * x), GAP if above else -GAP - 1),
                    "textcoords": "offset points",
                    "ha": align,
                    "va": "bottom" if above else "top",
                    "fontsize": "x-small",
                    "color": INK,
                },
            )


def _inside(box: Any, frame: Any) -> bool:
    return bool(frame.y0 <= box.y0 and box.y1 <= frame.y1 and frame.x0 <= box.x0 and box.x1 <= frame.x1)


def _struck(panel: Any, box: Any, lines: Sequence[Line]) -> bool:
    """Whether a line runs through a name."""
    heights = [panel.transData.transform((1.0, line.value))[1] for line in lines if not line.beyond]
    return any(box.y0 < height < box.y1 for height in heights)
