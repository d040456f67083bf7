"""Curves over length: lines with bands, references, and crosses where a curve was cut off."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from attention_arena.report.figures.marks import Spot, of_variant
from attention_arena.report.figures.scales import Scale
from attention_arena.report.figures.style import INK, Look, verbatim
from attention_arena.statistics import Point

CROSSES = {"oom": "x", "timeout": "+", "unsupported": "1", "failed": "2"}
"""Marker of what stands at the top of a panel in place of a value."""
CROSS_NAMES = {"oom": "out of memory", "timeout": "over its time", "unsupported": "unsupported", "failed": "failed"}
DASHES = (0, (5, 3))
"""A reference for cost, and no model."""
TOP = 0.955
"""Height of the first cross, as a share of the panel's."""
ROW = 0.06
"""Distance of crosses at one length, and the least one of names beside the panel."""
MOST_CROSSES = 8
"""Of one length below each other; further ones begin at the top again."""


class Curve(NamedTuple):
    """What is drawn of one variant in one panel."""

    label: str
    points: Sequence[Point]
    stop: tuple[int, str] | None = None
    """The first length from which on there is no value, and the status there."""
    note: str = ""
    """What stands beside the line's end."""


class Manner(NamedTuple):
    """How curves are drawn: each variant's look, which are references, along which axes, and a value in words."""

    colours: Mapping[str, Look]
    references: Collection[str]
    scale: Scale
    words: Callable[[float], str]


def draw_curves(panel: Any, curves: Sequence[Curve], manner: Manner) -> None:
    """Draw the lines, then the crosses of those that were cut off, and the notes at their ends."""
    drawn = [curve for curve in curves if curve.points or _is_cut(curve)]
    manner.scale.set_axes(panel)
    for curve in drawn:
        if not curve.points:
            continue
        with of_variant(panel, curve.label, _spots(curve, manner.words)):
            _line(panel, curve, manner.colours[curve.label], curve.label in manner.references)
    lengths = {int(point.length) for curve in drawn for point in curve.points}
    lengths |= {curve.stop[0] for curve in drawn if curve.stop is not None}
    _limits(panel, drawn, sorted(lengths), manner.scale)
    _crosses(panel, drawn, manner)
    _notes(panel, drawn, manner)


def _spots(curve: Curve, words: Callable[[float], str]) -> list[Spot]:
    return [Spot(each.length, each.value, f"{each.length:,.0f} tokens: {_told(each, words)}") for each in curve.points]


def _told(point: Point, words: Callable[[float], str]) -> str:
    ends = "" if point.low is None or point.high is None else f" [{words(point.low)}, {words(point.high)}]"
    return words(point.value) + ends


def told(curves: Sequence[Curve], manner: Manner) -> str:
    """Say where the curves end, the least value first, and what cut them off."""
    ends = sorted((curve for curve in curves if curve.points), key=lambda curve: curve.points[-1].value)
    parts = [
        f"{curve.label} {manner.words(curve.points[-1].value)} at {curve.points[-1].length:,.0f} tokens"
        + (f", exponent {curve.note}" if curve.note else "")
        + (f", {CROSS_NAMES[curve.stop[1]]} at {curve.stop[0]:,}" if curve.stop and _is_cut(curve) else "")
        for curve in ends
    ]
    return f"At the longest lengths, from the least: {'; '.join(parts)}."


def _is_cut(curve: Curve) -> bool:
    """Whether the curve ends in something that a cross stands for; a run that is still pending does not."""
    return curve.stop is not None and curve.stop[1] in CROSSES


def _line(panel: Any, curve: Curve, look: Look, is_reference: bool) -> None:
    x, y = [point.length for point in curve.points], [point.value for point in curve.points]
    lows, highs = [point.low for point in curve.points], [point.high for point in curve.points]
    if is_reference:
        panel.plot(x, y, color=INK, alpha=0.6, linestyle=DASHES, linewidth=1.1, zorder=1.5)
        return
    if None not in lows and None not in highs:
        panel.fill_between(x, lows, highs, color=look.colour, alpha=0.2, linewidth=0)
    panel.plot(x, y, color=look.colour, marker=look.marker, markersize=5, linewidth=1.5)


def _limits(panel: Any, curves: Sequence[Curve], lengths: Sequence[int], scale: Scale) -> None:
    """Set limits and ticks, with room above the lines where some of them end in a cross."""
    from matplotlib.ticker import NullLocator

    values = [point.value for curve in curves for point in curve.points]
    cut = [curve.stop[0] for curve in curves if curve.stop is not None and _is_cut(curve)]
    above = min(MOST_CROSSES, max((cut.count(length) for length in cut), default=0))
    first = scale.start(min(values))
    panel.set_ylim(scale.limits(first, max(values), 0.06 * (first > 0), 0.06 + ROW * above * 1.4))
    panel.set_xlim(scale.limits(lengths[0], lengths[-1], 0.04, 0.04))
    if scale.at_lengths:
        panel.set_xticks(lengths[:: -(-len(lengths) // 6)])
    else:
        panel.xaxis.set_major_locator(scale.ticks(lengths, 10))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    panel.tick_params(axis="x", labelsize="x-small")
    panel.set_xlabel("length (tokens)")


def _crosses(panel: Any, curves: Sequence[Curve], manner: Manner) -> None:
    """Lead the lines that were cut off to the top of the panel, those of one length below each other."""
    taken: dict[int, int] = {}
    for curve in sorted(curves, key=lambda curve: -curve.points[-1].value if curve.points else -math.inf):
        if curve.stop is None or not _is_cut(curve):
            continue
        length, status = curve.stop
        height = TOP - ROW * (taken.get(length, 0) % MOST_CROSSES)
        taken[length] = taken.get(length, 0) + 1
        colour = manner.colours[curve.label].colour
        last = max((point for point in curve.points if point.length < length), default=None, key=lambda p: p.length)
        top = manner.scale.at(panel.get_ylim(), height)
        with of_variant(panel, curve.label, [Spot(length, top, f"{length:,} tokens: {CROSS_NAMES[status]}")]):
            panel.plot([length], [top], color=colour, marker=CROSSES[status], markersize=8, markeredgewidth=2, zorder=4)
            if last is not None:
                panel.plot([last.length, length], [last.value, top], color=colour, linestyle=":", linewidth=1.3)


def _notes(panel: Any, curves: Sequence[Curve], manner: Manner) -> None:
    """Write each line's note to the right of the panel, at the height of its end; none where they do not all fit."""
    noted = sorted((curve for curve in curves if curve.note), key=lambda curve: curve.points[-1].value)
    if len(noted) * ROW > 1:
        return
    heights = [manner.scale.share(panel.get_ylim(), curve.points[-1].value) for curve in noted]
    inside = [min(max(height, i * ROW), 1 - (len(noted) - 1 - i) * ROW) for i, height in enumerate(heights)]
    if noted:
        _beside(panel, "exponent", 1.0, INK, above=11)
    for curve, height in zip(noted, spread(inside, ROW), strict=True):
        colour = INK if curve.label in manner.references else manner.colours[curve.label].colour
        with of_variant(panel, curve.label):
            _beside(panel, curve.note, height, colour)


def _beside(panel: Any, text: str, height: float, colour: str, above: float = 0.0) -> None:
    """Write to the right of a panel, at a share of its height and some points above that."""
    panel.annotate(
        verbatim(text),
        (1.0, height),
        xycoords="axes fraction",
        xytext=(30, above),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize="x-small",
        color=colour,
        annotation_clip=False,
    )


def spread(heights: Sequence[float], least: float) -> list[float]:
    """Return ascending heights moved apart to at least `least`, each as little from its place as that allows.

    Neighbours that are too close form a group around their mean (pool adjacent violators on heights less their rank).
    """
    groups: list[tuple[float, int]] = []
    for rank, height in enumerate(heights):
        mean, size = height - rank * least, 1
        while groups and groups[-1][0] > mean:
            before, n = groups.pop()
            mean, size = (before * n + mean * size) / (n + size), n + size
        groups.append((mean, size))
    means = [mean for mean, size in groups for _ in range(size)]
    return [mean + rank * least for rank, mean in enumerate(means)]


def cross_key(curves: Sequence[Curve]) -> list[Any]:
    """Return legend handles that name the crosses that were drawn."""
    from matplotlib.lines import Line2D

    present = {curve.stop[1] for curve in curves if curve.stop is not None}
    return [
        Line2D(
            [], [], color=INK, linestyle="", marker=marker, markersize=7, markeredgewidth=1.8, label=CROSS_NAMES[status]
        )
        for status, marker in CROSSES.items()
        if status in present
    ]


def reference_key(curves: Sequence[Curve], references: Collection[str]) -> list[Any]:
    """Return legend handles that name the references that were drawn."""
    from matplotlib.lines import Line2D

    present = dict.fromkeys(curve.label for curve in curves if curve.points and curve.label in references)
    return [
        Line2D([], [], color=INK, alpha=0.6, linewidth=1.1, linestyle=DASHES, label=verbatim(label))
        for label in present
    ]
