"""The figure: CPU time of a training pass against length, a panel for each idea and direction, log-log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attention_arena.report.figures.style import INK, canvas, house_style, log_ticks, looks, verbatim
from bench.cases import DIRECTIONS, IDEAS, Direction
from bench.summary import Line

PANELS_IN_A_ROW = 4


def draw(lines: Sequence[Line], setting: str, path: Path) -> bool:
    """Draw one setting's lines to `path`.svg and .png; return whether there was anything to draw."""
    shown = [
        line
        for line in lines
        if (line.setting, line.phase, line.dtype) == (setting, "training", "float32") and len(_points(line)) > 1
    ]
    panels = [
        (idea.name, direction)
        for idea in IDEAS[1:]
        for direction in DIRECTIONS
        if any(line.ours and (line.idea, line.direction) == (idea.name, direction) for line in shown)
    ]
    if not panels:
        return False
    with house_style():
        figure, axes = canvas(len(panels), wide=PANELS_IN_A_ROW)
        for panel, (idea, direction) in zip(axes, panels, strict=True):
            _draw_panel(panel, [line for line in shown if line.direction == direction], idea, direction)
        for suffix in (".svg", ".png"):
            figure.savefig(path.with_suffix(suffix), dpi=110)
    return True


def _draw_panel(panel: Any, lines: Sequence[Line], idea: str, direction: Direction) -> None:
    from matplotlib.ticker import NullFormatter, NullLocator

    peers = [line for line in lines if line.idea == idea and not line.ours]
    colours = looks([idea, *(line.implementation for line in peers)])
    values: list[float] = []
    lengths: set[int] = set()
    for line in lines:
        points = _points(line)
        if line.implementation == "softmax":
            panel.plot(*zip(*points, strict=True), color=INK, linewidth=1, linestyle=":", label="fused softmax")
        elif line.idea != idea:
            continue
        else:
            look = colours[line.implementation]
            style: dict[str, Any] = {"linewidth": 2.2} if line.ours else {"linewidth": 1, "linestyle": "--"}
            label = verbatim(f"{line.implementation}, ours" if line.ours else line.implementation)
            panel.plot(
                *zip(*points, strict=True), color=look.colour, marker=look.marker, markersize=4, label=label, **style
            )
        values += [seconds for _, seconds in points]
        lengths |= {length for length, _ in points}
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    panel.set_xticks(sorted(lengths)[:: 2 if len(lengths) > 3 else 1])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    panel.yaxis.set_major_locator(log_ticks(values))
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.set_title(verbatim(f"{idea}, {direction}"), fontsize="medium")
    panel.set_xlabel("length (tokens)")
    panel.set_ylabel("CPU seconds")
    panel.legend(fontsize="xx-small")


def _points(line: Line) -> list[tuple[int, float]]:
    return [(row.length, row.cpu_seconds) for row in line.rows if row.cpu_seconds is not None]
