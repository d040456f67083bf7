"""From a figure's entry to its files, and to a picture that can stand inside a page."""

from __future__ import annotations

import gc
import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from attention_arena.report.figures.figure import MORE, Figure
from attention_arena.report.figures.style import house_style
from attention_arena.report.page.inline import Picture, take_apart
from attention_arena.report.page.panels import POINTS_PER_INCH, Parts, find_parts, name_parts
from attention_arena.report.reading.results import Results
from attention_arena.runs.files import write_whole

PNG_DPI, MOST_PIXELS = 200, 3000
"""Pixels of an inch, fewer where a picture's longer side would have more than so many."""
DIGITS = 9
"""Of a number in a figure's CSV."""
COMPRESSION = 3
"""Of 9; the usual 6 takes three times as long for files a few percent smaller."""
ENDINGS = ("svg", "pdf", "png", "csv")
FLOATS = pl.col(pl.Float64)
UNDATED = {"CreationDate": None}
"""Without a date, the same results give the same bytes."""


class Drawing(NamedTuple):
    """A figure as a page shows it; without `picture`, `nothing` says why there is none."""

    name: str
    title: str
    caption: str
    picture: Picture | None
    nothing: str = ""
    section: str = MORE
    has_data: bool = True
    linear: Picture | None = None
    """The same on linear axes, where the figure has them."""


def draw_figure(figure: Figure, results: Results, folder: Path) -> Drawing:
    """Draw a figure of one study and save it in `folder` as `NAME.svg`, `.pdf` and `.png`, its numbers as `.csv`."""
    try:
        data = figure.data(results)
        files, picture, linear = ({}, None, None) if data.is_empty() else _drawn(figure, results)
    # A figure may be foreign code, which can fail in any way at all, and a report is worth having without it.
    except Exception as error:
        why = f"This figure could not be drawn: {type(error).__name__}: {error}"
        warnings.warn(f"figure {figure.name!r} is left out: {why}", stacklevel=2)
        return Drawing(figure.name, figure.title, figure.caption, None, why, figure.section)
    if picture is None:
        _remove(figure.name, folder)
        return Drawing(figure.name, figure.title, figure.caption, None, figure.nothing, figure.section, has_data=False)
    _save(figure.name, folder, files | {"csv": data.with_columns(FLOATS.round_sig_figs(DIGITS)).write_csv()})
    return Drawing(figure.name, figure.title, figure.caption, picture, section=figure.section, linear=linear)


def _drawn(figure: Figure, results: Results) -> tuple[dict[str, bytes], Picture, Picture | None]:
    """Return the picture's files by ending, and what a page shows: as drawn, and on linear axes if it has them."""
    with house_style(), _no_collecting():
        drawn = figure.draw(results)
        svg, parts = _svg(drawn)
        files = {"svg": svg, "pdf": _pdf(drawn), "png": _png(drawn)}
        linear = None if figure.linear is None else take_apart(*_svg(figure.linear(results)), f"{figure.name}-linear")
    return files, take_apart(svg, parts, figure.name), linear


@contextmanager
def _no_collecting() -> Iterator[None]:
    """Leave garbage uncollected for a while: to look through a figure's many objects, all in use, takes a tenth of its
    time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _svg(drawn: Any) -> tuple[bytes, Parts]:
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
    return re.sub(rb' d="[^"]*"', _rounded, buffer.getvalue()), find_parts(drawn)


def _rounded(path: re.Match[bytes]) -> bytes:
    """Return a path to a hundredth of a point, which halves its size."""
    return re.sub(rb"(\.\d\d)\d+", rb"\1", path[0])


def _pdf(drawn: Any) -> bytes:
    from matplotlib.backends.backend_pdf import FigureCanvasPdf

    buffer = io.BytesIO()
    FigureCanvasPdf(drawn).print_pdf(buffer, metadata=UNDATED)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def _png(drawn: Any) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    drawn.set_dpi(min(PNG_DPI, MOST_PIXELS / max(drawn.get_size_inches())))
    FigureCanvasAgg(drawn).print_png(buffer, pil_kwargs={"compress_level": COMPRESSION})  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def _save(name: str, folder: Path, files: Mapping[str, bytes | str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for ending, content in files.items():
        write_whole(folder / f"{name}.{ending}", content)


def _remove(name: str, folder: Path) -> None:
    """Remove the files of an earlier report, which would no longer be true of these results."""
    for ending in ENDINGS:
        (folder / f"{name}.{ending}").unlink(missing_ok=True)
