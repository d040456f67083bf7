"""The parts of a drawn figure: its panels, the entries of its legend, and where in the picture each of them lies.

A page sets them one by one, so that they reflow with its width, and so that a hidden task leaves no hole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from attention_arena.report.figures.marks import Mark, mark_of

POINTS_PER_INCH = 72
MARGIN = 3.0
"""Points around a part, for what is drawn on its edge."""


class Box(NamedTuple):
    """A rectangle of the picture in points from its upper left corner."""

    x: float
    y: float
    width: float
    height: float


class Part(NamedTuple):
    """A piece of the picture: the name of its element, where it lies, its text and whose it is."""

    gid: str
    box: Box
    text: str
    mark: Mark


class Parts(NamedTuple):
    """What a picture is made of; without `panels` it cannot be taken apart."""

    panels: Sequence[Part]
    below: Sequence[Part]
    """Axes that are no panel: a scale of colours."""
    keys: Sequence[Part]
    """Entries of the legend."""
    marks: dict[str, tuple[Mark, Sequence[tuple[float, float, str]]]]
    """Element -> its mark, and its spots in the picture's points."""
    titles: Sequence[str]
    """Elements that are titles of panels, whose text `panels` have."""


def name_parts(figure: Any) -> None:
    """Give each artist of which a page must know a name that the picture's elements keep. Call it before drawing."""
    known = [artist for artist in figure.findobj() if mark_of(artist) is not None]
    named = [*figure.axes, *known, *(handle for handle, _ in _legend_entries(figure))]
    named += [title for axes in figure.axes for title in _titles(axes)]
    for index, artist in enumerate(dict.fromkeys(named)):
        artist.set_gid(f"part-{index}")


def find_parts(figure: Any) -> Parts:
    """Return the parts of a figure that has just been drawn, where the drawing put them."""
    shown = [axes for axes in figure.axes if axes.axison]
    panels = [axes for axes in shown if mark_of(axes) is not None]
    others = [axes for axes in shown if mark_of(axes) is None]
    marked = {artist.get_gid(): artist for artist in figure.findobj() if mark_of(artist) is not None}
    return Parts(
        panels=_alike(figure, panels) if panels else [],
        below=[Part(axes.get_gid(), _box(figure, _extent(axes)), "", Mark()) for axes in others],
        keys=list(_keys(figure)),
        marks={gid: (mark_of(artist) or Mark(), _places(figure, artist)) for gid, artist in marked.items()},
        titles=[title.get_gid() for axes in panels for title in _titles(axes)],
    )


def _alike(figure: Any, panels: Sequence[Any]) -> list[Part]:
    """Return panels with the widest margins that any of them needs, so that their axes line up side by side."""
    from matplotlib.transforms import Bbox

    frames = [axes.get_window_extent() for axes in panels]
    extents = [_extent(axes) for axes in panels]
    both = list(zip(frames, extents, strict=True))
    left, below = max(f.x0 - e.x0 for f, e in both), max(f.y0 - e.y0 for f, e in both)
    right, above = max(e.x1 - f.x1 for f, e in both), max(e.y1 - f.y1 for f, e in both)
    parts = []
    for axes, frame in zip(panels, frames, strict=True):
        grown = Bbox.from_extents(frame.x0 - left, frame.y0 - below, frame.x1 + right, frame.y1 + above)
        mark = mark_of(axes) or Mark()
        parts.append(Part(axes.get_gid(), _box(figure, grown), _title(axes), mark))
    return parts


def _extent(axes: Any) -> Any:
    """Return the room of axes with their labels and notes, their title set aside."""
    from matplotlib.transforms import Bbox

    found = [axes.get_window_extent(), axes.xaxis.get_tightbbox(), axes.yaxis.get_tightbbox()]
    found += [text.get_window_extent() for text in axes.texts if text.get_in_layout()]
    return Bbox.union([each for each in found if each is not None])


def _titles(axes: Any) -> list[Any]:
    from matplotlib.text import Text

    return [each for each in axes.get_children() if isinstance(each, Text) and each not in axes.texts]


def _title(axes: Any) -> str:
    return " ".join(plain(title.get_text()) for title in _titles(axes) if title.get_text()).strip()


def plain(text: str) -> str:
    """Undo what `style.verbatim` does for matplotlib."""
    return " ".join(text.split()).replace(r"\$", "$")


def _legend_entries(figure: Any) -> Iterator[tuple[Any, str]]:
    for legend in figure.legends:
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
            yield handle, plain(text.get_text())


def _keys(figure: Any) -> Iterator[Part]:
    for handle, text in _legend_entries(figure):
        extent = handle.get_window_extent()
        size = getattr(handle, "get_markersize", float)() * figure.dpi / POINTS_PER_INCH
        marker = getattr(handle, "get_marker", lambda: "None")() not in ("None", "", " ", None)
        grown = extent.padded(max(0.0, size - extent.height) / 2 + 1) if marker else extent.padded(1)
        yield Part(handle.get_gid(), _box(figure, grown), text, mark_of(handle) or Mark())


def _places(figure: Any, artist: Any) -> list[tuple[float, float, str]]:
    """Return an artist's spots that its panel shows, in points of the picture."""
    mark, axes = mark_of(artist), getattr(artist, "axes", None)
    if mark is None or axes is None or not mark.spots:
        return []
    frame = axes.get_window_extent().padded(2)
    found = []
    for spot, (x, y) in zip(mark.spots, axes.transData.transform([spot[:2] for spot in mark.spots]), strict=True):
        if frame.contains(x, y):
            found.append((*_point(figure, x, y), spot.text))
    return found


def _point(figure: Any, x: float, y: float) -> tuple[float, float]:
    scale = POINTS_PER_INCH / figure.dpi
    return round(float(x) * scale, 1), round(float(figure.get_figheight() * POINTS_PER_INCH - y * scale), 1)


def _box(figure: Any, extent: Any) -> Box:
    x, y = _point(figure, extent.x0, extent.y1)
    scale = POINTS_PER_INCH / figure.dpi
    return Box(
        round(x - MARGIN, 1),
        round(y - MARGIN, 1),
        round(float(extent.width) * scale + 2 * MARGIN, 1),
        round(float(extent.height) * scale + 2 * MARGIN, 1),
    )
