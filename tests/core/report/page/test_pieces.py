"""A drawn figure taken apart: its panels, its legend, and what can be read off it."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.etree import ElementTree

import pytest

from attention_arena.report.figures.marks import MOST_LETTERS, Spot, mark_of, mark_panel, of_variant
from attention_arena.report.figures.style import INK, PALETTE, Look, add_legend, canvas, house_style, verbatim
from attention_arena.report.page.inline import Picture, take_apart
from attention_arena.report.page.rendering import as_svg
from attention_arena.report.page.swatches import SIDE, marker_path, swatches

LOOKS = {"one": Look("#0173b2", "o"), "t$wo": Look("#c67b00", "s")}


def drawn(tasks: tuple[str, ...] = ("copying", "text")) -> Any:
    """A panel for each task with a line for each variant, from (1, 10) to (3, 30)."""
    figure, axes = canvas(len(tasks))
    for task, panel in zip(tasks, axes, strict=True):
        for place, (label, look) in enumerate(LOOKS.items()):
            with of_variant(panel, label, [Spot(1, 10 + place, "first"), Spot(3, 30 + place, "last & <b>")]):
                panel.plot([1, 3], [10 + place, 30 + place], color=look.colour, marker=look.marker)
                panel.fill_between([1, 3], [9, 29], [11, 31], color=look.colour)
        panel.set_title(verbatim(f"{task} for $5"))
        mark_panel(panel, task, f"what {task} shows")
    add_legend(figure, LOOKS)
    return figure


def taken_apart(figure: Any) -> Picture:
    with house_style():
        return take_apart(*as_svg(figure), "name")


@pytest.fixture(scope="module")
def picture() -> Picture:
    with house_style():
        return taken_apart(drawn())


def marked(svg: str) -> list[ElementTree.Element]:
    return [each for each in ElementTree.fromstring(svg).iter() if "data-variant" in each.attrib]


def readable(svg: str) -> list[ElementTree.Element]:
    return [each for each in marked(svg) if "data-spots" in each.attrib]


def test_every_panel_is_a_picture_of_its_own(picture: Picture) -> None:
    assert [(panel.text, panel.task, panel.told) for panel in picture.panels] == [
        ("copying for $5", "copying", "what copying shows"),
        ("text for $5", "text", "what text shows"),
    ]
    assert not any("for $5" in panel.svg for panel in picture.panels)


def test_panels_are_alike_in_size_so_that_their_axes_line_up(picture: Picture) -> None:
    boxes = [re.findall(r'viewBox="([^"]*)"', panel.svg)[0].split() for panel in picture.panels]
    assert boxes[0][2:] == boxes[1][2:]
    assert float(boxes[1][0]) > float(boxes[0][0]) + 0.9 * float(boxes[0][2])


def test_all_that_is_drawn_of_a_variant_has_its_name(picture: Picture) -> None:
    for panel in picture.panels:
        assert sorted(each.attrib["data-variant"] for each in marked(panel.svg)) == ["one", "one", "t$wo", "t$wo"]


def test_the_entries_of_the_legend_are_its_own(picture: Picture) -> None:
    assert [(key.text, key.variant) for key in picture.keys] == [("one", "one"), ("t$wo", "t$wo")]


def test_a_spot_lies_where_its_marker_is_drawn(picture: Picture) -> None:
    line = readable(picture.panels[0].svg)[0]
    spots = json.loads(line.attrib["data-spots"])
    assert [text for _, _, text in spots] == ["first", "last & <b>"]
    places = [(float(each.attrib["x"]), float(each.attrib["y"])) for each in line.iter("use")]
    assert len(places) == 2
    for (x, y, _), place in zip(spots, places, strict=True):
        assert (x, y) == pytest.approx(place, abs=0.11)


def test_a_spot_outside_its_panel_is_left_out() -> None:
    with house_style():
        figure = drawn()
        figure.axes[0].set_xlim(0, 2)
        panel = taken_apart(figure).panels[0]
    assert [text for _, _, text in json.loads(readable(panel.svg)[0].attrib["data-spots"])] == ["first"]


def test_whatever_a_piece_refers_to_is_in_the_page_once(picture: Picture) -> None:
    names = re.findall(r'id="([^"]*)"', picture.shared)
    assert len(names) == len(set(names))
    pieces = "".join(piece.svg for piece in (*picture.panels, *picture.keys))
    assert 'id="' not in pieces
    referred = set(re.findall(r'href="#([^"]*)"', pieces)) | set(re.findall(r"url\(#([^)]*)\)", pieces))
    assert referred
    assert referred <= set(names)


def test_a_figure_that_marks_no_panel_stays_whole() -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().set_title("kept")
    picture = taken_apart(figure)
    [panel] = picture.panels
    assert "kept" in panel.svg
    assert (picture.shared, picture.keys) == ("", [])


def test_a_scale_of_colours_stands_below_the_panels() -> None:
    with house_style():
        figure, [panel] = canvas(1)
        image = panel.imshow([[0.0, 1.0]])
        figure.colorbar(image, ax=panel)
        mark_panel(panel, "copying", variant="one")
        picture = taken_apart(figure)
    assert [(each.variant, each.task) for each in picture.panels] == [("one", "copying")]
    assert len(picture.below) == 1


def test_coordinates_are_no_finer_than_a_screen_shows(picture: Picture) -> None:
    paths = " ".join(re.findall(r' d="([^"]*)"', picture.panels[0].svg))
    assert re.search(r"\d\.\d", paths)
    assert not re.search(r"\.\d\d", paths)


def test_what_a_panel_shows_is_told_in_a_limited_number_of_letters() -> None:
    _, [panel] = canvas(1)
    mark_panel(panel, "copying", "word " * 1000)
    mark = mark_of(panel)
    assert mark is not None
    assert len(mark.told) <= MOST_LETTERS
    assert mark.told.endswith("…")


@pytest.mark.parametrize("ground", ["#ffffff", "#15181c"])
@pytest.mark.parametrize("colour", [*PALETTE, INK])
def test_every_colour_is_seen_on_light_and_on_dark(colour: str, ground: str) -> None:
    if (colour, ground) == (INK, "#15181c"):
        return  # Ink takes the page's own colour.
    light, dark = sorted((_luminance(colour), _luminance(ground)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 3


def _luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_a_symbol_is_there_for_every_label_and_names_none() -> None:
    symbols, names = swatches(["<b>", "two"])
    assert names == {"<b>": "look-0", "two": "look-1"}
    root = ElementTree.fromstring(str(symbols))
    assert [each.attrib["id"] for each in root] == ["look-0", "look-1"]
    assert "<b>" not in str(symbols)


@pytest.mark.parametrize("marker", list("osD^vPX*hp<>d8H"))
def test_a_marker_fits_its_symbol(marker: str) -> None:
    path = marker_path(marker)
    numbers = [abs(float(each)) for each in re.findall(r"-?\d+\.\d+", path)]
    assert path.startswith("M")
    assert path.rstrip().endswith("Z")
    assert 0.9 < max(numbers) <= SIDE


def test_a_triangle_that_points_up_does_so_in_svg_too() -> None:
    tip, *others = re.findall(r"(-?\d+\.\d+) (-?\d+\.\d+)", marker_path("^"))
    assert float(tip[1]) < min(float(y) for _, y in others)
