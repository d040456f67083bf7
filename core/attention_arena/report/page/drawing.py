"""From a figure's entry to its files, and to a picture that can stand inside a page."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import polars as pl

from attention_arena.report.figures.figure import MORE, Figure
from attention_arena.report.figures.style import house_style
from attention_arena.report.page.inline import Picture, take_apart
from attention_arena.report.page.rendering import as_pdf, as_png, as_svg
from attention_arena.report.reading.results import Results
from attention_arena.runs.files import write_whole

DIGITS = 9
"""Of a number in a figure's CSV."""
ENDINGS = ("svg", "pdf", "png", "csv")
FLOATS = pl.col(pl.Float64)


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


class Drawn(NamedTuple):
    """What drawing a figure came to: its pictures by ending and what a page shows of them, or why there are none."""

    files: Mapping[str, bytes]
    picture: Picture | None = None
    linear: Picture | None = None
    failure: str = ""


Numbers = pl.DataFrame | str
"""A figure's data, or why they could not be had."""


def draw_figure(figure: Figure, results: Results, folder: Path) -> Drawing:
    """Draw a figure of one study and save it in `folder` as `NAME.svg`, `.pdf` and `.png`, its numbers as `.csv`."""
    numbers = numbers_of(figure, results)
    return keep(figure, numbers, draw(figure, results) if has_rows(numbers) else Drawn({}), folder)


def numbers_of(figure: Figure, results: Results) -> Numbers:
    """Return a figure's data, or in words why its plugin could not tell them."""
    try:
        return figure.data(results)
    # A figure may be foreign code, which can fail in any way at all, and a report is worth having without it.
    except Exception as error:
        return _failure(error)


def has_rows(numbers: Numbers) -> bool:
    """Whether there is something to draw."""
    return not isinstance(numbers, str) and not numbers.is_empty()


def draw(figure: Figure, results: Results) -> Drawn:
    """Draw a figure that has data; the same results give the same bytes, in whatever process."""
    try:
        with house_style(), _no_collecting():
            drawn = figure.draw(results)
            svg, parts = as_svg(drawn)
            files = {"svg": svg, "pdf": as_pdf(drawn), "png": as_png(drawn)}
            linear = None if figure.linear is None else as_svg(figure.linear(results))
            own = take_apart(svg, parts, figure.name)
            return Drawn(files, own, None if linear is None else take_apart(*linear, f"{figure.name}-linear"))
    # As above.
    except Exception as error:
        return Drawn({}, failure=_failure(error))


def _failure(error: Exception) -> str:
    return f"This figure could not be drawn: {type(error).__name__}: {error}"


def keep(figure: Figure, numbers: Numbers, drawn: Drawn, folder: Path) -> Drawing:
    """Save a figure's pictures and numbers, and return what a page shows.

    Files of an earlier report are removed where there are no numbers now, of which they would not be true.
    """
    drawing = Drawing(figure.name, figure.title, figure.caption, drawn.picture, section=figure.section)
    failure = numbers if isinstance(numbers, str) else drawn.failure
    if isinstance(numbers, str) or failure:
        warnings.warn(f"figure {figure.name!r} is left out: {failure}", stacklevel=2)
        return drawing._replace(nothing=failure)
    if numbers.is_empty():
        for ending in ENDINGS:
            (folder / f"{figure.name}.{ending}").unlink(missing_ok=True)
        return drawing._replace(nothing=figure.nothing, has_data=False)
    table = numbers.with_columns(FLOATS.round_sig_figs(DIGITS)).write_csv()
    folder.mkdir(parents=True, exist_ok=True)
    for ending, content in {**drawn.files, "csv": table.encode()}.items():
        write_whole(folder / f"{figure.name}.{ending}", content)
    return drawing._replace(linear=drawn.linear)


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
