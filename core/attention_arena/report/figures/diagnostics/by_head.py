"""One number for every head: how sparse its attention is, how far it reaches, and of what rank it is."""

from __future__ import annotations

import textwrap
from functools import partial
from typing import Any

import polars as pl

from attention_arena.report.derived.summary import summarise
from attention_arena.report.figures.diagnostics.panels import measured, small_panels
from attention_arena.report.figures.figure import DIAGNOSTICS, Figure
from attention_arena.report.figures.marks import Spot, mark_panel, of_variant
from attention_arena.report.figures.style import FAINT, INK, Look, looks, verbatim
from attention_arena.report.reading.results import Results
from attention_arena.report.wording.numbers import significant

COLUMNS = {
    "task": pl.String,
    "label": pl.String,
    "phase": pl.String,
    "layer": pl.Int64,
    "head": pl.Int64,
    "unit": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "samples": pl.Int64,
}
PHASES = ("trained", "untrained", "null: random queries and keys")
"""Those that are drawn: the last two as marks to compare with."""
WIDTH = 3.3
"""Inches of a panel."""
LAYER, NAME, LINE = 0.17, 0.24, 0.13
"""Inches of one layer's line, of a variant's name above its layers, and of each further line of the name."""
LETTERS = 52
"""Of a name's line."""


def data(measure: str, results: Results) -> pl.DataFrame:
    """Return the value of every head of every layer, and of what it is compared with."""
    found = measured(results, measure)
    return found.filter(pl.col("head").is_not_null() & pl.col("phase").is_in(PHASES)).select(*COLUMNS)


def draw(measure: str, axis: str, results: Results) -> Any:
    """Draw a panel for each task: below each variant's name a line of dots for each layer, the first one on top."""
    frame = data(measure, results)
    tasks = frame["task"].unique(maintain_order=True).to_list()
    labels = [label for label in summarise(results).labels if label in set(frame["label"])]
    colours = looks(summarise(results).labels)
    n_layers = {label: 1 + int(rows["layer"].max() or 0) for (label,), rows in frame.group_by("label")}  # type: ignore[arg-type]
    tall = sum(_name_height(label) + LAYER * n_layers[label] for label in labels)
    figure, axes = small_panels(tasks, WIDTH, tall + 0.85, wide=2)
    for task, panel in zip(tasks, axes, strict=True):
        top = 0.0
        for label in labels:
            rows = frame.filter((pl.col("task") == task) & (pl.col("label") == label))
            with of_variant(panel, label, _spots(rows, top + _name_height(label))):
                top = _variant(panel, label, rows, colours[label], top, n_layers[label])
        panel.set_ylim(top + 0.05, 0)
        panel.set_yticks([])
        panel.grid(visible=False, axis="y")
        panel.spines["left"].set_visible(False)
        panel.set_xlim(left=0, right=100 if frame["unit"][0] == "%" else None)
        panel.set_xlabel(axis, fontsize="small")
        mark_panel(panel, task, _told(frame.filter(pl.col("task") == task), axis))
    _add_key(figure, set(frame["phase"]))
    return figure


def _spots(rows: pl.DataFrame, first: float) -> list[Spot]:
    found = rows.filter(pl.col("phase") == "trained").sort("layer", "head")
    return [
        Spot(
            value,
            first + LAYER * (layer + 0.5),
            f"layer {layer + 1}, head {head + 1}: {significant(value)} {unit}",
        )
        for layer, head, value, unit in found.select("layer", "head", "value", "unit").iter_rows()
    ]


def _told(rows: pl.DataFrame, axis: str) -> str:
    """Say each variant's mean over its heads, the lowest first."""
    trained = rows.filter(pl.col("phase") == "trained")
    means = trained.group_by("label", maintain_order=True).agg(pl.col("value").mean()).sort("value")
    told = [f"{label} {significant(value)}" for label, value in means.iter_rows()]
    return f"Mean over heads of {axis}, from the lowest: {', '.join(told)}."


def _variant(panel: Any, label: str, rows: pl.DataFrame, look: Look, top: float, n_layers: int) -> float:
    """Draw one variant's lines from `top` down and return where they end, in inches."""
    from matplotlib.transforms import blended_transform_factory

    place = blended_transform_factory(panel.transAxes, panel.transData)
    lines = _lines(label if not rows.is_empty() else f"{label}: not measured")
    first = top + _name_height(label)
    name = panel.text(0.01, first - NAME / 4, "\n".join(map(verbatim, lines)), transform=place, va="bottom", color=INK)
    name.set_fontsize("x-small")
    # Otherwise a long name would take the panel's room.
    name.set_in_layout(False)
    heights = [first + LAYER * (layer + 0.5) for layer in range(n_layers)]
    panel.hlines(heights, 0, 1, transform=panel.get_yaxis_transform(), color=FAINT, linewidth=0.6, zorder=0)
    trained = rows.filter(pl.col("phase") == "trained")
    own = [heights[layer] for layer in trained["layer"]]
    panel.plot(trained["value"].to_list(), own, "o", color=look.colour, markersize=4.5, alpha=0.75, mew=0)
    for phase, marker in (("untrained", "D"), (PHASES[2], "|")):
        means = rows.filter(pl.col("phase") == phase).group_by("layer", maintain_order=True).agg(pl.col("value").mean())
        at = [heights[layer] for layer in means["layer"]]
        panel.plot(means["value"].to_list(), at, marker, color=INK, markersize=4.5, mfc="none", mew=0.9, alpha=0.8)
    return first + LAYER * n_layers


def _name_height(label: str) -> float:
    """Return the inches of a variant's name, with what may follow it."""
    return NAME + LINE * (len(_lines(f"{label}: not measured")) - 1)


def _lines(name: str) -> list[str]:
    return textwrap.wrap(" ".join(name.split()), LETTERS)


def _add_key(figure: Any, phases: set[str]) -> None:
    from matplotlib.lines import Line2D

    def key(marker: str, label: str, **style: Any) -> Any:
        return Line2D([], [], linestyle="none", marker=marker, markersize=5, color=INK, label=label, **style)

    handles = [key("o", "a head of the trained model")]
    if "untrained" in phases:
        handles.append(key("D", "mean before training", mfc="none"))
    if PHASES[2] in phases:
        handles.append(key("|", "mean of random queries and keys"))
    width, height = figure.get_size_inches()
    columns = 1 if width < 5 else len(handles)
    figure.set_size_inches(width, height + 0.22 * -(-len(handles) // columns))
    figure.legend(handles=handles, loc="outside lower left", ncols=columns, fontsize="x-small", handletextpad=0.4)


def _figure(measure: str, title: str, caption: str, axis: str) -> Figure:
    return Figure(
        name=measure,
        title=title,
        caption=f"{caption} A dot is a head, a line of dots a layer, the first one on top.",
        draw=partial(draw, measure, axis),
        data=partial(data, measure),
        nothing=f"No run measured {measure}.",
        section=DIAGNOSTICS,
    )


SPARSITY = _figure(
    "attention_sparsity",
    "How many keys hold most of the attention",
    "Share of the keys a query may see that together hold 90 % of its attention, or what the study set, mean over "
    "queries; further left is sparser.",
    "keys that hold the mass (%)",
)
SPAN = _figure(
    "attention_span",
    "How far attention reaches",
    "Distance within which 90 % of a query's attention lies, or what the study set, mean over queries: the window that "
    "this head needs.",
    "required span (tokens)",
)
RANK = _figure(
    "attention_rank",
    "Effective rank of attention",
    "Singular values that make up 90 % of their sum, or what the study set, as a share of all; further left is of "
    "lower rank. Random queries and keys of the same width and spread show what a head's shape alone brings.",
    "singular values (%)",
)
