"""Cost against length: time and memory of a token, with the fitted exponents and with what cut a curve off."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any

import polars as pl

from attention_arena.report.derived.costs import COLUMNS as POINT_COLUMNS
from attention_arena.report.derived.costs import COSTS, sequence_costs
from attention_arena.report.derived.growth import Line, growth, lines
from attention_arena.report.derived.summary import summarise
from attention_arena.report.figures.curves import Curve, Manner, cross_key, draw_curves, reference_key, told
from attention_arena.report.figures.figure import Figure
from attention_arena.report.figures.marks import mark_panel
from attention_arena.report.figures.scales import LINEAR, LOGARITHMIC, Scale
from attention_arena.report.figures.style import add_legend, canvas, looks, verbatim
from attention_arena.report.reading.results import Results
from attention_arena.report.wording.numbers import count, fixed, size, tick
from attention_arena.statistics import Point

MOST_TASKS = 3
"""Tasks that are drawn; cost hardly depends on the task, so more of them say little more."""
TIMES = ("step_time",)
MEMORY = ("saved_for_backward", "peak_memory", "peak_resident")
COLUMNS = POINT_COLUMNS | {"per_token": pl.Float64}
PANEL = ["task", "measure", "phase"]


def data(measures: Collection[str], results: Results) -> pl.DataFrame:
    """Return the points of costs that were measured at two lengths or more: as measured, and by token of the step."""
    found = [line for line in lines(results) if line.measure in measures]
    points = pl.concat([pl.DataFrame(schema=POINT_COLUMNS), *(line.points for line in found)])
    n_tokens = pl.col("batch_size").fill_null(1) * pl.col("length")
    has_line = pl.col("length").filter(pl.col("value").is_not_null()).n_unique().over(PANEL) >= 2
    return points.with_columns(per_token=pl.col("value") / n_tokens).filter(has_line).select(*COLUMNS)


def draw(measures: Collection[str], scale: Scale, results: Results) -> Any:
    """Draw a panel for each task, measure and phase."""
    labels = summarise(results).labels
    colours, references = looks(labels), results.studies[0].references
    frame = data(measures, results)
    shown = frame["task"].unique(maintain_order=True).to_list()[:MOST_TASKS]
    keys = [
        key
        for task in shown
        for key in frame.filter(pl.col("task") == task).select(PANEL).unique(maintain_order=True).rows()
    ]
    figure, axes = canvas(len(keys))
    fitted = growth(results)
    drawn: list[Curve] = []
    for key, panel in zip(keys, axes, strict=True):
        curves = list(_curves(results, key, fitted))
        manner = Manner(colours, references, scale, _words(key[1]))
        draw_curves(panel, curves, manner)
        _label(panel, key, curves, scale, with_task=len(shown) > 1)
        mark_panel(panel, key[0], told(curves, manner))
        drawn += curves
    present = {curve.label for curve in drawn if curve.points or curve.stop} - set(references)
    extra = reference_key(drawn, references) + cross_key(drawn)
    add_legend(figure, {label: look for label, look in colours.items() if label in present}, extra)
    return figure


def _curves(results: Results, key: tuple[str, ...], fitted: pl.DataFrame) -> Iterator[Curve]:
    """Yield what a panel shows: cost by token, and the exponent of a sequence's cost."""
    for line in lines(results):
        if (line.task, line.measure, line.phase) != key:
            continue
        [row] = fitted.filter(task=line.task, label=line.label, measure=line.measure, phase=line.phase).to_dicts()
        note = "" if row["exponent"] is None else fixed(row["exponent"], 2)
        yield Curve(line.label, per_token(line), line.stop, note)


def per_token(line: Line) -> list[Point]:
    """Return a curve as the cost of one token: flat where a sequence's cost is linear, of slope 1 where quadratic."""
    return [
        Point(n, value / n, None if low is None else low / n, None if high is None else high / n)
        for n, value, low, high in sequence_costs(line.points)
    ]


def _words(measure: str) -> Callable[[float], str]:
    """Return what writes a cost by token: memory in bytes, time from milliseconds."""
    if COSTS[measure].kind == "memory":
        return lambda value: f"{size(value)} per token"
    return lambda value: f"{count(1e3 * value)} µs per token"


def _label(panel: Any, key: tuple[str, ...], curves: Sequence[Curve], scale: Scale, with_task: bool) -> None:
    from matplotlib.ticker import NullLocator

    task, measure, phase = key
    values = [point.value for curve in curves for point in curve.points]
    memory = COSTS[measure].kind == "memory"
    panel.yaxis.set_major_locator(scale.ticks(values, 2 if memory else 10))
    panel.yaxis.set_major_formatter(lambda value, _: size_tick(value) if memory else tick(1e3 * value))
    if memory:
        panel.yaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_minor_formatter("")
    title = COSTS[measure].title if measure == "saved_for_backward" else f"{COSTS[measure].title}, {phase}"
    panel.set_title(verbatim(f"{task}: {title}" if with_task else title), fontsize="medium")
    panel.set_ylabel("memory per token" if memory else "µs per token")


def size_tick(value: float) -> str:
    """Return bytes at an axis, without trailing zeros: `64 KiB`."""
    number, _, unit = size(value).partition(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}"


HOW = (
    "On logarithmic axes a flat line is a cost that grows as the sequence does, a slope of 1 a quadratic one; beside "
    "each line stands, where there is room, the exponent of a whole sequence's cost, fitted to the upper half of the "
    "lengths. Bands are 95 % intervals. A dotted line to the top ends, at a cross, where a variant ran out of memory "
    "or of time; the dashed one replaces attention by passing values through. At most "
    f"{MOST_TASKS} tasks are drawn; the numbers have all."
)
TIME = Figure(
    name="cost_by_length",
    title="Time against length",
    caption=f"Time of a step by token, as sequences grow. {HOW}",
    draw=partial(draw, TIMES, LOGARITHMIC),
    linear=partial(draw, TIMES, LINEAR),
    data=partial(data, TIMES),
    nothing="Nothing was timed at two lengths or more.",
)
SPACE = Figure(
    name="memory_by_length",
    title="Memory against length",
    caption=f"Memory of a step by token, as sequences grow: what training keeps for backward, and the peak. {HOW}",
    draw=partial(draw, MEMORY, LOGARITHMIC),
    linear=partial(draw, MEMORY, LINEAR),
    data=partial(data, MEMORY),
    nothing="No memory was measured at two lengths or more.",
)
