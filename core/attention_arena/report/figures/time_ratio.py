"""Time over the baseline's against length, and where it crosses 1."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import polars as pl

from attention_arena.report.derived.break_even import Compared, comparisons, in_words, rivals
from attention_arena.report.derived.summary import summarise
from attention_arena.report.figures.cost import MOST_TASKS
from attention_arena.report.figures.curves import Curve, Manner, cross_key, draw_curves, reference_key, told
from attention_arena.report.figures.figure import Figure
from attention_arena.report.figures.marks import Spot, mark_panel, of_variant
from attention_arena.report.figures.scales import LINEAR, LOGARITHMIC, Scale
from attention_arena.report.figures.style import INK, Look, add_legend, canvas, looks, verbatim
from attention_arena.report.reading.results import Results
from attention_arena.report.wording.numbers import ratio, tick
from attention_arena.statistics import break_even

COLUMNS = {
    "task": pl.String,
    "phase": pl.String,
    "label": pl.String,
    "against": pl.String,
    "timed": pl.String,
    "length": pl.Int64,
    "ratio": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
}


def data(results: Results) -> pl.DataFrame:
    """Return time over the baseline's at every length that both have; below 1 is faster."""
    rows = [
        dict(zip(COLUMNS, (*_panel_of(each), each.line.label, each.rival.label, each.timed, *point), strict=True))
        for each in _against_baseline(results)
        for point in each.ratios
    ]
    found = pl.DataFrame(rows, COLUMNS)
    return found.filter(pl.col("length").n_unique().over("task", "phase") >= 2)


def _against_baseline(results: Results) -> list[Compared]:
    first = rivals(results)[:1]
    return [each for each in comparisons(results) if each.line.measure == "step_time" and [each.rival.label] == first]


def _panel_of(each: Compared) -> tuple[str, str]:
    return each.line.task, each.line.phase


def draw(scale: Scale, results: Results) -> Any:
    """Draw a panel for each task and phase."""
    colours, references = looks(summarise(results).labels), results.studies[0].references
    frame = data(results)
    shown = frame["task"].unique(maintain_order=True).to_list()[:MOST_TASKS]
    keys = [key for key in frame.select("task", "phase").unique(maintain_order=True).rows() if key[0] in shown]
    figure, axes = canvas(len(keys))
    drawn: list[Curve] = []
    manner = Manner(colours, references, scale, ratio)
    for key, panel in zip(keys, axes, strict=True):
        compared = [each for each in _against_baseline(results) if _panel_of(each) == key]
        curves = [Curve(each.line.label, each.ratios, each.line.stop) for each in compared]
        draw_curves(panel, curves, manner)
        _mark_break_evens(panel, [each for each in compared if each.line.label not in references], colours)
        _label(panel, key, curves, compared[0].rival.label, scale, with_task=len(shown) > 1)
        mark_panel(panel, key[0], told(curves, manner))
        drawn += curves
    present = {curve.label for curve in drawn} - set(references)
    extra = [*reference_key(drawn, references), _mark_key(), *cross_key(drawn)]
    add_legend(figure, {label: look for label, look in colours.items() if label in present}, extra)
    return figure


def _mark_break_evens(panel: Any, compared: Sequence[Compared], colours: dict[str, Look]) -> None:
    panel.axhline(1.0, color=INK, linewidth=1.1, zorder=1)
    for each in compared:
        found = break_even(each.ratios)
        if found.value is not None:
            ends = [[found.value - (found.low or found.shortest)], [(found.high or found.longest) - found.value]]
            spot = Spot(found.value, 1.0, f"break-even at {in_words(found)} tokens")
            with of_variant(panel, each.line.label, [spot]):
                panel.errorbar(
                    found.value,
                    1.0,
                    xerr=ends if found.basis == "points" else None,
                    marker="o",
                    markersize=8,
                    markerfacecolor="none",
                    markeredgewidth=1.8,
                    color=colours[each.line.label].colour,
                    elinewidth=2.5,
                    zorder=5,
                )


def _mark_key() -> Any:
    from matplotlib.lines import Line2D

    return Line2D(
        [], [], color=INK, marker="o", linewidth=2.5, markerfacecolor="none", markersize=7, label="break-even length"
    )


def _label(
    panel: Any, key: tuple[str, ...], curves: Sequence[Curve], baseline: str, scale: Scale, with_task: bool
) -> None:
    from matplotlib.ticker import NullLocator

    task, phase = key
    panel.yaxis.set_major_locator(scale.ticks([1.0, *(point.value for curve in curves for point in curve.points)], 2))
    panel.yaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_formatter(lambda value, _: f"{tick(value)}×")
    panel.set_title(verbatim(f"{task}: {phase}" if with_task else phase), fontsize="medium")
    panel.set_ylabel(verbatim(f"time over that of {baseline}"))


RATIO = Figure(
    name="time_ratio_by_length",
    title="Time beside the baseline",
    caption=(
        "Time of a step over the baseline's at the same length; below 1, the baseline's line, a variant is faster. A "
        "ring is the break-even length, from which on it stays faster, with its 95 % interval; bands are 95 % "
        "intervals of the ratio. A dotted line to the top ends, at a cross, where a variant ran out of memory or of "
        "time; the dashed one replaces attention by passing values through."
    ),
    draw=partial(draw, LOGARITHMIC),
    linear=partial(draw, LINEAR),
    data=data,
    nothing="There is no baseline that was timed at two lengths or more beside another variant.",
)
