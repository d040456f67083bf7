"""Fewer bytes of the same picture."""

from __future__ import annotations

import io
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from attention_arena.report.figures.style import house_style
from attention_arena.report.page.lean import lean

SVG = "{http://www.w3.org/2000/svg}"
TOLERANCE = 0.0101
"""A hundredth of a point is cut off."""
HOSTILE = ' d="0.123456" x="0.123456"  <path d="0.123456"/>'


def written() -> bytes:
    """Lines with markers, a band, points that show what is under them, and a text that looks like a path."""
    with house_style():
        figure = Figure()
        axes = figure.subplots()
        axes.plot([1, 2, 3, 5], [3, 1, 2, 2.5], marker="o")
        axes.plot([1, 2, 3, 5], [4, 2, 3, 3.5], marker="s", alpha=0.3)
        axes.fill_between([1, 2, 3], [2, 2, 2], [3, 4, 3])
        axes.scatter([1, 2], [1, 2], alpha=0.5)
        axes.set_title(HOSTILE)
        buffer = io.BytesIO()
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})  # type: ignore[no-untyped-call]
    return buffer.getvalue()


@pytest.fixture(scope="module")
def pictures() -> tuple[bytes, bytes]:
    svg = written()
    return svg, lean(svg)


def _commands(path: str) -> list[tuple[str, float]]:
    """Return a path's numbers, each with the letter that holds for it: after a move, coordinates are lines."""
    found = []
    letter, seen = "", 0
    for token in re.findall(r"[A-Za-z]|-?[\d.]+", path):
        if token.isalpha():
            letter, seen = token, 0
        else:
            found.append(("L" if letter == "M" and seen >= 2 else letter, float(token)))
            seen += 1
    return found


def _paths(svg: bytes) -> list[list[tuple[str, float]]]:
    return [_commands(each.attrib["d"]) for each in ElementTree.fromstring(svg).iter(f"{SVG}path")]


def _markers(svg: bytes) -> list[tuple[float, float, str]]:
    """Return each marker's place, and the style that it has or inherits."""
    root = ElementTree.fromstring(svg)
    found = []
    for group in root.iter(f"{SVG}g"):
        for each in group.findall(f"{SVG}use"):
            style = each.attrib.get("style", group.attrib.get("style", ""))
            found.append((float(each.attrib["x"]), float(each.attrib["y"]), style))
    return found


def test_paths_are_the_same_to_a_hundredth_of_a_point(pictures: tuple[bytes, bytes]) -> None:
    before, after = map(_paths, pictures)
    assert [[letter for letter, _ in path] for path in after] == [[letter for letter, _ in path] for path in before]
    numbers = [[number for path in paths for _, number in path] for paths in (before, after)]
    assert numbers[1] == pytest.approx(numbers[0], abs=TOLERANCE)


def test_markers_lie_where_they_lay_and_look_as_they_did(pictures: tuple[bytes, bytes]) -> None:
    before, after = map(_markers, pictures)
    assert [style for _, _, style in after] == [style for _, _, style in before]
    places = [[number for x, y, _ in each for number in (x, y)] for each in (before, after)]
    assert places[1] == pytest.approx(places[0], abs=TOLERANCE)


def test_the_style_of_a_lines_markers_is_said_once(pictures: tuple[bytes, bytes]) -> None:
    root = ElementTree.fromstring(pictures[1])
    groups = [group for group in root.iter(f"{SVG}g") if len(group.findall(f"{SVG}use")) == 4]
    assert [("style" in group.attrib, sum("style" in each.attrib for each in group)) for group in groups] == [
        (True, 0),
        (True, 0),
    ]


@pytest.mark.parametrize(
    "styles", [("fill: red; opacity: 0.5", "fill: red; opacity: 0.5"), ("fill: red", "fill: blue")], ids=str
)
def test_markers_keep_a_style_that_is_not_inherited_or_not_the_same(styles: tuple[str, str]) -> None:
    uses = "\n".join(f'<use xlink:href="#m1" x="1" y="2" style="{style}"/>' for style in styles)
    group = f"<g>\n{uses}\n</g>"
    assert lean(group.encode()).decode() == group


def test_texts_are_left_as_they_are(pictures: tuple[bytes, bytes]) -> None:
    texts = [[each.text for each in ElementTree.fromstring(svg).iter(f"{SVG}text")] for svg in pictures]
    assert texts[0] == texts[1]
    assert HOSTILE in texts[1]


def test_a_picture_has_fewer_bytes(pictures: tuple[bytes, bytes]) -> None:
    before, after = pictures
    assert len(after) < 0.9 * len(before)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("M 0 0 \nL 1.239 -2 \nL 3 4 \nz\n", "M 0 0 1.23 -2 3 4 z"),
        ("M 0 0 \nC 1 1 2 2 3 3 \nL 4 4 \nL 5 5 \n", "M 0 0 C 1 1 2 2 3 3 L 4 4 5 5"),
        ("M 0 0 \nL 1 1 \nM 2 2 \nL 3 3 \n", "M 0 0 1 1 M 2 2 3 3"),
    ],
)
def test_a_letter_is_left_out_only_where_the_last_one_still_holds(path: str, expected: str) -> None:
    found: Any = re.search(rb'd="([^"]*)"', lean(f'<path d="{path}"/>'.encode()))
    assert found[1].decode().strip() == expected
