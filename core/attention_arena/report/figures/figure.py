"""What a figure is: the contract between the report and a figure's plugin."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import polars as pl

    from attention_arena.report.reading.results import Results

MORE = "More figures"
DIAGNOSTICS = "Diagnostics"


class Figure(NamedTuple):
    """A catalogue entry: the numbers behind a picture, and the picture.

    Both functions are given one study's results. `data` returns the numbers as they are published beside the picture;
    where it is empty there is nothing to draw, and `draw` is not called. `draw` returns a `matplotlib.figure.Figure`
    that belongs to no `pyplot` state (`attention_arena.report.figures.style.canvas` makes one).
    """

    name: str
    """File name without its ending."""
    title: str
    caption: str
    """How to read it, in a sentence or two; also what a screen reader is told."""
    draw: Callable[[Results], Any]
    data: Callable[[Results], pl.DataFrame]
    nothing: str = "There is nothing to draw yet."
    """What the report says where `data` is empty."""
    section: str = MORE
    """Heading of the report under which it stands; under any but `MORE`, a figure without data is left out."""
    linear: Callable[[Results], Any] | None = None
    """As `draw`, on linear axes where those of `draw` are logarithmic; a page lets its reader choose."""
