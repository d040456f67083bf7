"""Figures of measurements along a series: by position (rounds, features, distance) or by layer.

One description draws any measure whose rows have such a column, so that a plugin's figure says what to draw, not how.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import polars as pl

from attention_arena.report.derived.summary import summarise
from attention_arena.report.figures.diagnostics.panels import labelled
from attention_arena.report.figures.figure import DIAGNOSTICS, Figure
from attention_arena.report.figures.marks import Spot, mark_panel, of_variant
from attention_arena.report.figures.style import INK, MAX_COLUMNS, Look, add_legend, canvas, looks, verbatim
from attention_arena.report.reading.results import Results
from attention_arena.report.wording.numbers import significant, tick

MAX_TICKS = 9
LineStyle = Literal["-", "--", ":", ""]


class Series(NamedTuple):
    """Which rows to draw, and what to call them."""

    panels: Mapping[str, str]
    """Measure -> title; each measure has a panel on each task."""
    lines: Mapping[str, LineStyle]
    """Phase -> line style of matplotlib; other phases are not drawn. Solid lines have bands, which others would cover;
    points without a line are hollow."""
    along: Literal["position", "layer"]
    """Column of the horizontal axis. A row without a position is a horizontal line."""
    axis: str
    """What that column counts, with its unit."""


def series_figure(name: str, title: str, caption: str, series: Series, nothing: str) -> Figure:
    """Return the figure of a series; its data have a line for each task, measure, phase, variant and place."""
    return Figure(name, title, caption, partial(_draw, series), partial(series_data, series), nothing, DIAGNOSTICS)


def series_data(series: Series, results: Results) -> pl.DataFrame:
    """Return the points of a figure: the mean of the rows that fall on each, how many, and how far they reach.

    `low` and `high` are the least and the greatest of several rows (layers, where the series is by position), and the
    95 % interval of a lone one.
    """
    found = results.measurements.filter(
        pl.col("measure").is_in(list(series.panels))
        & pl.col("phase").is_in(list(series.lines))
        & pl.col("value").is_finite()
    )
    several = pl.len() > 1
    return (
        labelled(results, found)
        .group_by("task", "measure", "phase", "unit", "label", series.along, maintain_order=True)
        .agg(
            pl.col("value").mean().alias("mean"),
            low=pl.when(several).then(pl.col("value").min()).otherwise(pl.col("low").first()),
            high=pl.when(several).then(pl.col("value").max()).otherwise(pl.col("high").first()),
            rows=pl.len().cast(pl.Int64),
        )
        .rename({"mean": "value"})
    )


def _draw(series: Series, results: Results) -> Any:
    """Draw a panel for each task and measure."""
    frame = series_data(series, results)
    labels = summarise(results).labels
    colours = looks(labels)
    tasks = frame["task"].unique(maintain_order=True).to_list()
    panels = [(task, measure) for task in tasks for measure in series.panels if _has(frame, task, measure)]
    figure, axes = canvas(len(panels), wide=max(MAX_COLUMNS, len(series.panels)))
    for (task, measure), panel in zip(panels, axes, strict=True):
        rows = frame.filter((pl.col("task") == task) & (pl.col("measure") == measure))
        for label in labels:
            for phase, style in series.lines.items():
                chosen = rows.filter((pl.col("label") == label) & (pl.col("phase") == phase))
                with of_variant(panel, label, _spots(chosen.sort(series.along), series)):
                    _line(panel, chosen.sort(series.along), series.along, colours[label], style)
        title = series.panels[measure]
        panel.set_title(verbatim(f"{task}: {title}" if len(tasks) > 1 else title), fontsize="medium")
        panel.set_ylabel(verbatim(rows["unit"][0]))
        _scale(panel, series, rows)
        mark_panel(panel, task, _told(rows, series))
    present = set(frame["label"])
    add_legend(figure, {label: look for label, look in colours.items() if label in present}, _phases(series, frame))
    return figure


def _has(frame: pl.DataFrame, task: str, measure: str) -> bool:
    return not frame.filter((pl.col("task") == task) & (pl.col("measure") == measure)).is_empty()


def _spots(rows: pl.DataFrame, series: Series) -> list[Spot]:
    placed = rows.filter(pl.col(series.along).is_not_null())
    return [
        Spot(row[series.along], row["value"], f"{series.along} {row[series.along]:,}: {_value(row)}, {row['phase']}")
        for row in placed.iter_rows(named=True)
    ]


def _value(row: dict[str, Any]) -> str:
    ends = (
        "" if row["low"] is None or row["high"] is None else f" [{significant(row['low'])}, {significant(row['high'])}]"
    )
    return f"{significant(row['value'])}{ends} {row['unit']}"


def _told(rows: pl.DataFrame, series: Series) -> str:
    """Say where each line ends."""
    last = rows.sort(series.along).group_by("label", "phase", maintain_order=True).last()
    ends = [f"{row['label']}, {row['phase']}, {_value(row)}" for row in last.iter_rows(named=True)]
    return f"At the end: {'; '.join(ends)}."


def _line(panel: Any, rows: pl.DataFrame, along: str, look: Look, style: LineStyle) -> None:
    flat, placed = rows.filter(pl.col(along).is_null()), rows.filter(pl.col(along).is_not_null())
    for value in flat["value"]:
        panel.axhline(value, color=look.colour, linestyle=style, linewidth=1.2)
    x, solid = placed[along].to_numpy(), style == "-"
    if solid and not placed.is_empty() and not placed["low"].has_nulls() and not placed["high"].has_nulls():
        low, high = placed["low"].to_numpy(), placed["high"].to_numpy()
        panel.fill_between(x, low, high, color=look.colour, alpha=0.15, linewidth=0)
        panel.vlines(x, low, high, color=look.colour, alpha=0.4, linewidth=1.0)
    panel.plot(
        x,
        placed["value"].to_numpy(),
        color=look.colour,
        linestyle=style,
        linewidth=1.5 if solid else 1.2,
        marker=look.marker,
        markersize=6 if solid else 4.5 if style else 8,
        markerfacecolor=look.colour if solid else "none",
    )


def _scale(panel: Any, series: Series, rows: pl.DataFrame) -> None:
    """Place the ticks where the points are; powers of two stand evenly where the series is by position."""
    from matplotlib.ticker import NullLocator

    places = sorted(set(rows[series.along].drop_nulls()))
    panel.set_xlabel(verbatim(series.axis))
    panel.yaxis.set_major_formatter(lambda value, _: tick(value))
    if series.along == "position" and places:
        # 0 has no logarithm, so a series with it is linear up to 1.
        panel.set_xscale("symlog" if places[0] == 0 else "log", base=2)
        panel.xaxis.set_minor_locator(NullLocator())
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    every = -(-len(places) // MAX_TICKS)
    panel.set_xticks(places[::every])


def _phases(series: Series, frame: pl.DataFrame) -> list[Any]:
    """Return legend handles that name the line styles, where there is more than one."""
    from matplotlib.lines import Line2D

    present = set(frame["phase"])
    shown = {phase: style for phase, style in series.lines.items() if phase in present}
    if len(shown) < 2:
        return []
    return [
        Line2D(
            [],
            [],
            color=INK,
            linestyle=style,
            linewidth=1.3,
            label=verbatim(phase),
            marker="" if style else "o",
            markersize=7,
            markerfacecolor="none",
        )
        for phase, style in shown.items()
    ]
