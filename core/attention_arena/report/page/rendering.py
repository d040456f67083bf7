"""A drawn figure as files, laid out once for all of them."""

from __future__ import annotations

import io
from typing import Any

from attention_arena.report.page.lean import lean
from attention_arena.report.page.panels import POINTS_PER_INCH, Parts, find_parts, name_parts

PNG_DPI, MOST_PIXELS = 200, 3000
"""Pixels of an inch, fewer where a picture's longer side would have more than so many."""
COMPRESSION = 6
"""Of 9; the highest takes four times as long for files 2 % smaller."""
UNDATED = {"CreationDate": None}
"""Without a date, the same results give the same bytes."""


def as_svg(drawn: Any) -> tuple[bytes, Parts]:
    """Lay a figure out once for all its files, and return it as SVG with its parts.

    `savefig` would find every place anew for each file, which takes longer than drawing it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    # As an SVG counts, so that what the drawing places in pixels stays where it is drawn.
    drawn.set_dpi(POINTS_PER_INCH)
    name_parts(drawn)
    # A canvas that keeps its renderer; without one, matplotlib makes a renderer for every extent that it is asked for.
    canvas = FigureCanvasAgg(drawn)
    layout = drawn.get_layout_engine()
    if layout is not None:
        layout.execute(drawn)
        drawn.set_layout_engine("none")
    buffer = io.BytesIO()
    FigureCanvasSVG(drawn).print_svg(buffer, metadata={"Date": None})  # type: ignore[no-untyped-call]
    drawn.set_canvas(canvas)
    return lean(buffer.getvalue()), find_parts(drawn)


def as_pdf(drawn: Any) -> bytes:
    """Return a figure that `as_svg` has laid out as PDF."""
    from matplotlib.backends.backend_pdf import FigureCanvasPdf

    buffer = io.BytesIO()
    FigureCanvasPdf(drawn).print_pdf(buffer, metadata=UNDATED)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def as_png(drawn: Any) -> bytes:
    """Return a figure that `as_svg` has laid out as PNG; without a channel for opacity where all of it is opaque."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from numpy import asarray
    from PIL import Image

    dpi = min(PNG_DPI, MOST_PIXELS / max(drawn.get_size_inches()))
    drawn.set_dpi(dpi)
    canvas: Any = FigureCanvasAgg(drawn)
    canvas.draw()
    image = Image.fromarray(asarray(canvas.buffer_rgba()))
    if image.getchannel("A").getextrema() == (255, 255):
        image = image.convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, "png", dpi=(dpi, dpi), compress_level=COMPRESSION)
    return buffer.getvalue()
