"""Spectra of attention matrices: cumulative singular values of each layer beside references that learnt nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from attention_arena.report.derived.summary import summarise
from attention_arena.report.figures.diagnostics.panels import measured, small_panels
from attention_arena.report.figures.figure import DIAGNOSTICS, Figure
from attention_arena.report.figures.marks import Spot, mark_panel, of_variant
from attention_arena.report.figures.style import INK
from attention_arena.report.reading.results import Results
from attention_arena.report.wording.numbers import significant

COLUMNS = {
    "task": pl.String,
    "label": pl.String,
    "phase": pl.String,
    "layer": pl.Int64,
    "position": pl.Int64,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "samples": pl.Int64,
}
DASHES: dict[str, Any] = {
    "untrained": (0, (4, 1.5)),
    "null: random queries and keys": (0, (1, 1)),
    "null: random logits": (0, (6, 1.5, 1, 1.5)),
    "null: shuffled rows": (0, (1, 3)),
    "null: uniform": "solid",
}
WIDTH, HEIGHT = 2.2, 1.85
"""Inches of a panel; three are as wide as the page of a paper."""
MOST_SPOTS = 12
"""Of one curve, where its value can be read."""


def data(results: Results) -> pl.DataFrame:
    """Return the curve of every layer, averaged over its heads, for the trained model and each reference."""
    return measured(results, "attention_spectrum").filter(pl.col("head").is_null()).select(*COLUMNS)


def draw(results: Results) -> Any:
    """Draw a panel for each task and variant."""
    frame = data(results)
    labels = summarise(results).labels
    panels = sorted(
        frame.select("task", "label").unique(maintain_order=True).rows(), key=lambda key: _place(key, frame, labels)
    )
    several = frame["task"].n_unique() > 1
    titles = [f"{task}: {label}" if several else label for task, label in panels]
    figure, axes = small_panels(titles, WIDTH, HEIGHT)
    for (task, label), panel in zip(panels, axes, strict=True):
        rows = frame.filter((pl.col("task") == task) & (pl.col("label") == label))
        _curves(panel, rows, label)
        panel.set_xlim(0, 100)
        panel.set_ylim(0, 102)
        panel.set_xticks([0, 50, 100])
        panel.set_yticks([0, 50, 100])
        # All of them: where they stand on a page is not known.
        panel.set_ylabel("share of sum (%)", fontsize="small")
        panel.set_xlabel("singular values (%)", fontsize="small")
        mark_panel(panel, task, _told(rows), label)
    _add_key(figure, frame)
    return figure


def _place(key: tuple[str, str], frame: pl.DataFrame, labels: Sequence[str]) -> tuple[int, int]:
    tasks = frame["task"].unique(maintain_order=True).to_list()
    return tasks.index(key[0]), labels.index(key[1])


def _told(rows: pl.DataFrame) -> str:
    """Say how much of their sum the largest tenth of the singular values holds, in each layer."""
    tenth = rows.filter((pl.col("phase") == "trained") & (pl.col("position") <= 10)).sort("position")
    held = tenth.group_by("layer", maintain_order=True).last().sort("layer")
    told = [f"layer {layer + 1} {value:.0f} %" for layer, value in held.select("layer", "value").iter_rows()]
    return f"Share of their sum that the largest tenth of the singular values holds: {', '.join(told) or 'unknown'}."


def _curves(panel: Any, rows: pl.DataFrame, label: str) -> None:
    for phase, dashes in DASHES.items():
        mean = rows.filter(pl.col("phase") == phase).group_by("position").agg(pl.col("value").mean()).sort("position")
        name = f"{phase.removeprefix('null: ')}, mean over layers"
        with of_variant(panel, label, _spots(mean, name)):
            _curve(panel, mean, color=INK, alpha=0.6, linewidth=0.9, linestyle=dashes)
    trained = rows.filter(pl.col("phase") == "trained")
    layers = sorted(set(trained["layer"]))
    for layer, colour in zip(layers, _colours(len(layers)), strict=True):
        mine = trained.filter(pl.col("layer") == layer).sort("position")
        with of_variant(panel, label, _spots(mine, f"trained, layer {layer + 1}")):
            _curve(panel, mine, color=colour, linewidth=1.6)


def _spots(rows: pl.DataFrame, name: str) -> list[Spot]:
    """Return what is to be read along a curve, at no more than about `MOST_SPOTS` places, the last among them."""
    every = -(-len(rows) // MOST_SPOTS)
    shown = rows.reverse().gather_every(every).reverse() if every else rows
    return [
        Spot(place, value, f"{name}: the largest {place} % of the singular values hold {significant(value)} %")
        for place, value in shown.select("position", "value").iter_rows()
    ]


def _curve(panel: Any, rows: pl.DataFrame, **style: Any) -> None:
    if not rows.is_empty():
        panel.plot([0, *rows["position"].to_list()], [0, *rows["value"].to_list()], **style)


def _colours(n_layers: int) -> list[Any]:
    import seaborn

    return list(seaborn.color_palette("flare", max(2, n_layers)))[:n_layers]


def _add_key(figure: Any, frame: pl.DataFrame) -> None:
    from matplotlib.lines import Line2D

    n_layers = frame.filter(pl.col("phase") == "trained")["layer"].n_unique()
    shown = sorted({0, (n_layers - 1) // 2, n_layers - 1})
    handles = [
        Line2D([], [], color=_colours(n_layers)[layer], linewidth=1.6, label=f"trained, layer {layer + 1}")
        for layer in shown
    ]
    present = set(frame["phase"])
    handles += [
        Line2D([], [], color=INK, alpha=0.6, linewidth=0.9, linestyle=dashes, label=phase.removeprefix("null: "))
        for phase, dashes in DASHES.items()
        if phase in present
    ]
    width, height = figure.get_size_inches()
    columns = max(1, int(width / 2.1))
    figure.set_size_inches(width, height + 0.2 * -(-len(handles) // columns) + 0.1)
    figure.legend(handles=handles, loc="outside lower left", ncols=columns, fontsize="x-small", handlelength=3)


SPECTRUM = Figure(
    name="attention_spectrum",
    title="Singular values of attention",
    caption=(
        "How much of their sum the largest singular values of a layer's attention matrices hold, averaged over heads: "
        "a curve that rises early is of low rank. Grey lines have learnt nothing: the model before training; softmax "
        "of random queries and keys, and of random logits, as uneven as the trained weights; the trained weights of "
        "each query handed out by chance; and equal weights."
    ),
    draw=draw,
    data=data,
    nothing="No run measured attention_spectrum.",
    section=DIAGNOSTICS,
)
