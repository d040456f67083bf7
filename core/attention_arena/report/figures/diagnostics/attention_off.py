"""What attention is worth to trained models: the score lost with a layer's attention switched off."""

from __future__ import annotations

import textwrap
from typing import Any

import polars as pl

from attention_arena.report.derived.summary import summarise
from attention_arena.report.figures.diagnostics.panels import labelled
from attention_arena.report.figures.figure import DIAGNOSTICS, Figure
from attention_arena.report.figures.marks import Spot, mark_panel, of_variant
from attention_arena.report.figures.style import INK, Look, add_legend, canvas, looks, verbatim
from attention_arena.report.reading.results import Results
from attention_arena.report.wording.numbers import significant, tick

COLUMNS = {
    "task": pl.String,
    "metric": pl.String,
    "unit": pl.String,
    "label": pl.String,
    "off": pl.String,
    "score": pl.Float64,
    "difference": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "examples": pl.Int64,
}
EVERYWHERE = "all"
LETTERS = 26
"""Of a line beside the vertical axis."""
WIDTH = 0.7
"""Of the room between two places on the axis, what the variants of one share."""


def data(results: Results) -> pl.DataFrame:
    """Return each variant's score on each task with attention off in one layer or all, and its difference to intact.

    `off` is the layer, counted from 0, or `all`; `low` and `high` are the paired 95 % interval of the difference.
    """
    keys = ["task", "task_options", "label", "seed", "layer", "phase"]
    found = results.measurements.filter(pl.col("value").is_finite())
    scores = found.filter(pl.col("measure") == "attention_off_score").select(*keys, score="value")
    rows = (
        found.filter(pl.col("measure") == "attention_off")
        .join(scores, on=keys, how="left", nulls_equal=True, maintain_order="left")
        .join(
            results.runs.select("task", "task_options", "label", "seed", "metric"),
            on=["task", "task_options", "label", "seed"],
            how="left",
            nulls_equal=True,
            maintain_order="left",
        )
    )
    return (
        labelled(results, rows)
        .with_columns(
            off=pl.when(pl.col("phase") == "all off")
            .then(pl.lit(EVERYWHERE))
            .otherwise(pl.col("layer").cast(pl.String)),
            difference=pl.col("value"),
            examples=pl.col("samples"),
        )
        .select(*COLUMNS)
    )


def draw(results: Results) -> Any:
    """Draw a panel for each task."""
    frame = data(results)
    labels = [label for label in summarise(results).labels if label in set(frame["label"])]
    colours = looks(summarise(results).labels)
    tasks = frame["task"].unique(maintain_order=True).to_list()
    figure, axes = canvas(len(tasks))
    for task, panel in zip(tasks, axes, strict=True):
        rows = frame.filter(pl.col("task") == task)
        places = [*sorted(set(rows["off"]) - {EVERYWHERE}, key=int), EVERYWHERE]
        for index, label in enumerate(labels):
            shift = WIDTH * ((index + 0.5) / len(labels) - 0.5)
            mine = rows.filter(pl.col("label") == label)
            with of_variant(panel, label, _spots(mine, places, shift)):
                _points(panel, mine, places, shift, colours[label])
        _label(panel, task, places, rows)
        told = [f"{row['label']} {_told(row)}" for row in rows.filter(off=EVERYWHERE).iter_rows(named=True)]
        mark_panel(panel, task, f"Change with attention off in all layers: {'; '.join(told)}.")
    add_legend(figure, {label: colours[label] for label in labels})
    return figure


def _spots(rows: pl.DataFrame, places: list[str], shift: float) -> list[Spot]:
    return [
        Spot(
            places.index(row["off"]) + shift,
            row["difference"],
            f"{'all layers' if row['off'] == EVERYWHERE else 'layer ' + row['off']} off: {_told(row)}",
        )
        for row in rows.iter_rows(named=True)
    ]


def _told(row: dict[str, Any]) -> str:
    ends = "" if row["low"] is None else f" [{significant(row['low'])}, {significant(row['high'])}]"
    return f"{significant(row['difference'])}{ends} {row['unit']}"


def _points(panel: Any, rows: pl.DataFrame, places: list[str], shift: float, look: Look) -> None:
    for off, value, low, high in rows.select("off", "difference", "low", "high").iter_rows():
        x = places.index(off) + shift
        if low is not None and high is not None:
            panel.vlines(x, low, high, color=look.colour, linewidth=1.5)
        panel.plot(x, value, color=look.colour, marker=look.marker, markersize=6)


def _label(panel: Any, task: str, places: list[str], rows: pl.DataFrame) -> None:
    metric, unit = rows["metric"][0], rows["unit"][0]
    panel.axhline(0, linestyle="--", linewidth=0.9, alpha=0.65, color=INK, zorder=0)
    panel.axvline(len(places) - 1.5, linewidth=0.8, alpha=0.4, color=INK, zorder=0)
    panel.grid(axis="x", visible=False)
    panel.set_xlim(-0.5, len(places) - 0.5)
    panel.set_xticks(range(len(places)), places)
    panel.set_title(verbatim(task), fontsize="medium")
    panel.set_xlabel("layer whose attention is off")
    change = verbatim(f"change of {(metric or 'score').replace('_', ' ')} ({unit})")
    panel.set_ylabel("\n".join(textwrap.wrap(change, LETTERS)))
    panel.yaxis.set_major_formatter(lambda value, _: tick(value))


ATTENTION_OFF = Figure(
    name="attention_off",
    title="Attention off",
    caption=(
        "How the score on test changes when the attention of one layer, or of all, adds nothing to a model that was "
        "trained with it. At the dashed line the model does as well without. Bars are 95 % intervals over examples, "
        "each paired with itself."
    ),
    draw=draw,
    data=data,
    nothing="No run was scored with its attention switched off.",
    section=DIAGNOSTICS,
)
