"""From a figure's entry to its files, and to a picture that can stand inside a page."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import polars as pl

from attention_arena.report.figures.figure import Figure
from attention_arena.report.figures.style import FAINT, INK, house_style
from attention_arena.report.results import Results
from attention_arena.runs.files import write_whole

PNG_DPI = 200
REM_PER_POINT = 0.09
LEAST_REM_PER_POINT = 0.055
"""How far a picture in a page grows and shrinks, so that its letters stay about as large as those around it."""


class Drawing(NamedTuple):
    """A figure as a page shows it; `svg` is empty where `nothing` says why there is no picture."""

    name: str
    title: str
    caption: str
    svg: str
    nothing: str = ""


def draw_figure(figure: Figure, results: Results, folder: Path) -> Drawing:
    """Draw a figure of one study and save `NAME.svg`, `NAME.png` and `NAME.csv`, the numbers behind it, in `folder`."""
    try:
        data = figure.data(results)
        pictures = None if data.is_empty() else _pictures(figure, results)
    # A figure may be foreign code, which can fail in any way at all, and a report is worth having without it.
    except Exception as error:
        why = f"This figure could not be drawn: {type(error).__name__}: {error}"
        warnings.warn(f"figure {figure.name!r} is left out: {why}", stacklevel=2)
        return Drawing(figure.name, figure.title, figure.caption, "", why)
    if pictures is None:
        _remove(figure.name, folder)
        return Drawing(figure.name, figure.title, figure.caption, "", figure.nothing)
    svg, png = pictures
    _save(figure.name, folder, svg, png, data)
    return Drawing(figure.name, figure.title, figure.caption, inline(svg, figure))


def _pictures(figure: Figure, results: Results) -> tuple[bytes, bytes]:
    svg, png = io.BytesIO(), io.BytesIO()
    with house_style():
        picture = figure.draw(results)
        # Without a date, the same results give the same bytes.
        picture.savefig(svg, format="svg", metadata={"Date": None})
        picture.savefig(png, format="png", dpi=PNG_DPI)
    return svg.getvalue(), png.getvalue()


def _save(name: str, folder: Path, svg: bytes, png: bytes, data: pl.DataFrame) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / f"{name}.svg", svg)
    write_whole(folder / f"{name}.png", png)
    write_whole(folder / f"{name}.csv", data.write_csv())


def _remove(name: str, folder: Path) -> None:
    """Remove the files of an earlier report, which would no longer be true of these results."""
    for ending in ("svg", "png", "csv"):
        (folder / f"{name}.{ending}").unlink(missing_ok=True)


def inline(svg: bytes, figure: Figure) -> str:
    """Return a picture as an element of an HTML page, safe beside others and readable on light and dark.

    Names are made the figure's own, everything that points outside or styles the whole page is dropped, the ground
    becomes transparent, and ink takes the page's colours.
    """
    root = ElementTree.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if _bare(child.tag) in ("metadata", "style", "script"):
                parent.remove(child)
    for element in root.iter():
        element.tag = _bare(element.tag)
        element.attrib = {_bare(key): _own(_bare(key), value, figure.name) for key, value in element.attrib.items()}
    ground = root.find(f".//g[@id='{figure.name}-patch_1']")
    if ground is not None:
        ground.clear()
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    width = float(root.attrib["viewBox"].split()[2])
    root.attrib["style"] = f"max-width: {width * REM_PER_POINT:.1f}rem; min-width: {width * LEAST_REM_PER_POINT:.1f}rem"
    root.attrib |= {"role": "img", "aria-label": f"{figure.title}. {figure.caption}"}
    return ElementTree.tostring(root, encoding="unicode")


def _bare(name: str) -> str:
    return name.rpartition("}")[2]


def _own(key: str, value: str, name: str) -> str:
    """Return an attribute's value with names made the figure's own and inks the page's."""
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return value.replace("#", f"#{name}-", 1) if value.startswith("#") else ""
    value = value.replace("url(#", f"url(#{name}-")
    return value.replace(INK, "currentColor").replace(FAINT, "var(--faint)").replace("#ffffff", "var(--ground)")
