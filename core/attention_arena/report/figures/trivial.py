"""Scores that need no model, as lines in a panel of scores against speed."""

from __future__ import annotations

import math
from textwrap import shorten
from typing import Any

from attention_arena.report.derived.summary import TaskSummary
from attention_arena.report.figures.style import INK, verbatim
from attention_arena.report.wording.numbers import significant

FARTHEST = 4.0
"""Spans of a panel's scores within which a score that needs no model is drawn as a line."""
LETTERS = 40
"""Of a line's name; with what may follow, a panel is about as wide."""


def trivial_lines(panel: Any, task: TaskSummary, rows: list[dict[str, Any]]) -> None:
    """Draw and name the weakest and the best score that need no model; the tables have those between.

    One so far off that it would flatten the panel is named at its edge.
    """
    lowest, highest = min(row["low"] or row["score"] for row in rows), max(row["high"] or row["score"] for row in rows)
    reach = FARTHEST * max(highest - lowest, 0.05 * abs(highest))
    up = task.higher_is_better is not False
    beyond = {True: 0, False: 0}
    for full_name, value, above in _ends(task):
        name = shorten(full_name, LETTERS, placeholder="…")
        if lowest - reach <= value <= highest + reach:
            panel.axhline(value, color=INK, linestyle="--", linewidth=0.9, alpha=0.65, zorder=0)
            side = 1.0 if _leaves_room_right(rows, value) else 0.0
            _name(panel, name, (side, value), "data", 2 if above else -3, "bottom" if above else "top")
        else:
            top = (value > highest) == up
            line = 10 * beyond[top]
            beyond[top] += 1
            text = f"{name}: {significant(value)}, off the axis"
            _name(panel, text, (0.0, float(top)), "axes fraction", -3 - line if top else 3 + line, _edge(top))


def _ends(task: TaskSummary) -> list[tuple[str, float, bool]]:
    """Return the weakest and the best score without a model: name, value, and whether its name stands above the line.

    The two names stand on the far sides of their lines, so that they do not meet however close the lines are.
    """
    found = list(task.trivial.items())
    if len(found) < 2:
        return [(name, value, True) for name, value in found]
    return [(*found[0], False), (*found[-1], True)]


def _edge(top: bool) -> str:
    return "top" if top else "bottom"


def _name(panel: Any, text: str, place: tuple[float, float], y_of: str, shift: int, align: str) -> None:
    """Write a line's name at `place` (a share of the panel's width; a value or a share of its height)."""
    right = place[0] == 1.0
    label = panel.annotate(
        verbatim(text),
        place,
        xycoords=("axes fraction", y_of),
        xytext=(-3 if right else 3, shift),
        textcoords="offset points",
        ha="right" if right else "left",
        va=align,
        fontsize="x-small",
        color=INK,
    )
    # Otherwise a long name would take the panel's room, down to nothing.
    label.set_in_layout(False)


def _leaves_room_right(rows: list[dict[str, Any]], value: float) -> bool:
    """Whether the mark nearest to a line lies left of the middle, so that the line's name goes to the right."""
    places = [math.log(row["tokens_per_second"]) for row in rows]
    nearest = min(rows, key=lambda row: abs(row["score"] - value))
    return 2 * math.log(nearest["tokens_per_second"]) < min(places) + max(places)
