"""Cost against length: how each variant's time and memory grow, and the exponent fitted to it."""

from __future__ import annotations

from typing import Any

import polars as pl

from attention_arena.report.figures.figure import Figure
from attention_arena.report.figures.style import Look, add_legend, canvas, log_ticks, looks, verbatim
from attention_arena.report.naming import task_labels
from attention_arena.report.numbers import size, tick
from attention_arena.report.results import Results
from attention_arena.report.summary import summarise
from attention_arena.statistics import exponent

COLUMNS = {
    "task": pl.String,
    "measure": pl.String,
    "phase": pl.String,
    "unit": pl.String,
    "label": pl.String,
    "length": pl.Int64,
    "batch_size": pl.Int64,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "samples": pl.Int64,
}
PANEL = ["task", "measure", "phase", "unit"]
EXPONENT_COLUMNS = {name: COLUMNS[name] for name in (*PANEL, "label")} | {
    "shortest": pl.Int64,
    "longest": pl.Int64,
    "lengths": pl.Int64,
    "fixed_tokens": pl.Boolean,
    "exponent": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
}


def data(results: Results) -> pl.DataFrame:
    """Return the measurements, averaged over runs, of whatever was measured at two lengths or more."""
    names = task_labels((task, options) for task, options in results.runs.select("task", "task_options").iter_rows())
    found = results.measurements.filter(
        pl.col("length").is_not_null() & pl.col("value").is_finite() & (pl.col("value") > 0)
    )
    labels = [names[key] for key in found.select("task", "task_options").iter_rows()]
    means = (
        found.with_columns(task=pl.Series(labels, dtype=pl.String))
        .group_by(*PANEL, "label", "length", maintain_order=True)
        .agg(
            pl.col("batch_size").max(),
            pl.col("value").mean(),
            pl.col("low").mean(),
            pl.col("high").mean(),
            pl.col("samples").sum(),
        )
    )
    enough = pl.col("length").n_unique().over(PANEL) >= 2
    return means.filter(enough).select(*COLUMNS)


def exponents(results: Results) -> pl.DataFrame:
    """Return, for each line of the figure with two lengths or more, e of cost ~ length^e with its 95 % interval.

    `fixed_tokens`: the batch shrank as the sequences grew, so e is that of a token's cost, one less than a sequence's.
    """
    rows: list[dict[str, Any]] = []
    for key, line in data(results).group_by(*PANEL, "label", maintain_order=True):
        if len(line) < 2:
            continue
        fit = exponent(line["length"].to_list(), line["value"].to_list())
        named = dict(zip((*PANEL, "label"), key, strict=True))
        rows.append(
            {
                **named,
                "shortest": line["length"].min(),
                "longest": line["length"].max(),
                "lengths": len(line),
                "fixed_tokens": line["batch_size"].n_unique() > 1,
                "exponent": fit.value,
                "low": fit.low,
                "high": fit.high,
            }
        )
    return pl.DataFrame(rows, EXPONENT_COLUMNS)


def draw(results: Results) -> Any:
    """Draw a panel for each measure, phase and task."""
    frame = data(results)
    labels = summarise(results).labels
    colours = looks(labels)
    panels = frame.select(PANEL).unique(maintain_order=True).rows()
    figure, axes = canvas(len(panels))
    several = frame["task"].n_unique() > 1
    for key, panel in zip(panels, axes, strict=True):
        rows = frame.filter(pl.all_horizontal(*(pl.col(name) == part for name, part in zip(PANEL, key, strict=True))))
        for label in labels:
            _line(panel, rows.filter(pl.col("label") == label), colours[label])
        _label(panel, key, sorted(set(rows["length"])), several)
        panel.yaxis.set_major_locator(log_ticks(rows["value"].to_list(), base=2 if key[-1] == "bytes" else 10))
    present = set(frame["label"])
    add_legend(figure, {label: look for label, look in colours.items() if label in present})
    return figure


def _line(panel: Any, rows: pl.DataFrame, look: Look) -> None:
    if rows.is_empty():
        return
    rows = rows.sort("length")
    x = rows["length"].to_numpy()
    if rows["low"].null_count() == 0 and rows["high"].null_count() == 0:
        low, high = rows["low"].to_numpy(), rows["high"].to_numpy()
        panel.fill_between(x, low, high, color=look.colour, alpha=0.2, linewidth=0)
    panel.plot(x, rows["value"].to_numpy(), color=look.colour, marker=look.marker, markersize=6, linewidth=1.5)


def _label(panel: Any, key: tuple[Any, ...], lengths: list[int], several: bool) -> None:
    from matplotlib.ticker import NullLocator

    task, measure, phase, unit = key
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    panel.set_xticks(lengths[:: -(-len(lengths) // 6)])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    panel.yaxis.set_major_formatter(lambda value, _: size(value) if unit == "bytes" else tick(value))
    panel.yaxis.set_minor_formatter("")
    title = f"{measure.replace('_', ' ')}, {phase}"
    panel.set_title(verbatim(f"{task}: {title}" if several else title), fontsize="medium")
    panel.set_xlabel("length (tokens)")
    panel.set_ylabel(verbatim(unit))


COST = Figure(
    name="cost_by_length",
    title="Cost against length",
    caption=(
        "What each variant costs as the sequence grows, on logarithmic axes, where a straight line is a power law and "
        "its slope the exponent; bands are 95 % intervals. A line that stops early ran into a limit."
    ),
    draw=draw,
    data=data,
    nothing="Nothing was measured at two lengths or more.",
)
