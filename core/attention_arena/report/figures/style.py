"""How figures look: one colour and one marker for each variant, in every figure, and ink that a page can recolour."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from attention_arena.report.figures.marks import Mark, put_mark

INK = "#24292f"
FAINT = "#d5d9de"
PALETTE = (
    "#0173b2", "#c67b00", "#029e73", "#d55e00", "#c46fb4", "#b37d4e", "#868e96", "#2b97d0", "#8a63b0", "#8d8a00",
)  # fmt: skip
"""Seaborn's colour-blind palette, light colours darkened: each has a contrast of 3 with white and with dark ground."""
MARKERS = "osD^vPX*hp<>d8H"
"""Fifteen markers against ten colours: 30 pairs before one returns."""
PANEL_WIDTH, PANEL_HEIGHT = 3.3, 2.7
"""Inches: one panel is as wide as a column of a paper, two as its page."""
MAX_COLUMNS = 2
LETTERS_PER_INCH = 13
"""About how many letters of a legend fit in an inch."""


class Look(NamedTuple):
    """How a variant is drawn."""

    colour: str
    marker: str


def looks(labels: Sequence[str]) -> dict[str, Look]:
    """Return a look for each label, by its place; the same labels in the same order give the same looks."""
    return {
        label: Look(PALETTE[index % len(PALETTE)], MARKERS[index % len(MARKERS)]) for index, label in enumerate(labels)
    }


def verbatim(text: str) -> str:
    """Return `text` so that matplotlib shows it as it is: no mathematics, no label hidden for its first letter."""
    shown = " ".join(text.split()).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


@contextmanager
def house_style() -> Iterator[None]:
    """Draw and save inside this; matplotlib's settings are as before afterwards."""
    import matplotlib
    import seaborn

    settings: Any = {
        **seaborn.axes_style("ticks"),
        **seaborn.plotting_context("notebook", font_scale=0.85),
        "font.family": ["sans-serif"],
        "font.sans-serif": ["DejaVu Sans"],
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "axes.grid": True,
        "grid.color": FAINT,
        "grid.linewidth": 0.6,
        "axes.linewidth": 0.8,
        "legend.frameon": False,
        # Text stays text, to be selected, searched and read aloud; names do not depend on the day or the machine.
        "svg.fonttype": "none",
        # Whole fonts that any viewer and press has to show; publishers refuse the other kind, Type 3.
        "pdf.fonttype": 42,
        "svg.hashsalt": "attention-arena",
    }
    with matplotlib.rc_context(settings):
        yield


def canvas(n_panels: int, wide: int = MAX_COLUMNS) -> tuple[Any, list[Any]]:
    """Return a figure with room for so many panels, at most `wide` in a row, and their axes."""
    import seaborn
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    n_columns = min(n_panels, wide)
    n_rows = math.ceil(n_panels / n_columns)
    layout = ConstrainedLayoutEngine(w_pad=0.09, h_pad=0.09)
    figure = Figure(figsize=(PANEL_WIDTH * n_columns, PANEL_HEIGHT * n_rows), layout=layout)
    grid = figure.subplots(n_rows, n_columns, squeeze=False)
    axes = list(grid.flat)
    for spare in axes[n_panels:]:
        spare.set_axis_off()
    for each in axes[:n_panels]:
        seaborn.despine(ax=each)
    return figure, axes[:n_panels]


def log_ticks(values: Sequence[float], base: int = 10) -> Any:
    """Return a locator of a few round numbers for a logarithmic axis, however close together the values lie."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    if max(values) <= 4 * min(values):
        return MaxNLocator(4)
    wide = base == 2 or max(values) > 50 * min(values)
    return LogLocator(base, numticks=6) if wide else LogLocator(10, subs=(1, 2, 5))


def add_legend(figure: Any, shown: dict[str, Look], extra: Sequence[Any] = ()) -> None:
    """Name the variants, and whatever `extra` handles name, below the panels."""
    from matplotlib.lines import Line2D

    handles: list[Any] = [
        Line2D([], [], color=look.colour, marker=look.marker, markersize=7, label=verbatim(label))
        for label, look in shown.items()
    ]
    handles += extra
    longest = max(len(handle.get_label()) for handle in handles)
    columns = max(1, min(4, len(handles), int(figure.get_figwidth() * LETTERS_PER_INCH) // (longest + 8)))
    tallest = max(handle.get_markersize() for handle in handles)
    row = max(0.22, tallest / 72 + 0.06)
    width, height = figure.get_size_inches()
    # The legend adds to the figure and takes nothing from the panels.
    figure.set_size_inches(width, height + row * math.ceil(len(handles) / columns) + 0.15)
    spacing = max(0.5, (row - 0.14) * 72 / 10)
    legend = figure.legend(
        handles=handles,
        loc="outside lower left",
        ncols=columns,
        fontsize="small",
        labelspacing=spacing,
        handletextpad=1,
    )
    for label, handle in zip(shown, legend.legend_handles, strict=False):
        put_mark(handle, Mark(label))
