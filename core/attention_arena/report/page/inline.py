"""A drawn picture as pieces of an HTML page: safe beside others, readable on light and dark, its parts marked."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from attention_arena.report.figures.style import FAINT, INK
from attention_arena.report.page.panels import Box, Part, Parts

PICTURE_INSIDE = r"data:image/png;base64,[A-Za-z0-9+/=\s]*"
"""A reference that brings its pixels with it (a map of many cells), and so reaches for nothing."""


SPOTS = re.compile(r' (data-spots)="([^"]*)"')


class Piece(NamedTuple):
    """An `<svg>` element, what it is called, what it shows in words, and whose it is."""

    svg: str
    text: str
    told: str
    variant: str
    task: str
    width: float
    """In points, as it was drawn."""


class Picture(NamedTuple):
    """What a page sets of a figure."""

    shared: str
    """An `<svg>` without extent that has what the others refer to."""
    panels: Sequence[Piece]
    below: Sequence[Piece]
    keys: Sequence[Piece]


class _Names(dict[str, str]):
    """The names of a picture's elements -> short ones that no other figure of the page has."""

    def __init__(self, figure: str) -> None:
        super().__init__()
        self.figure = figure

    def __missing__(self, name: str) -> str:
        self[name] = f"{self.figure}-{len(self)}"
        return self[name]


def take_apart(svg: bytes, parts: Parts, name: str) -> Picture:
    """Return a picture's pieces; the whole as one panel where it has none.

    Names are made the figure's own and dropped where nothing refers to them, everything that points outside or styles
    the whole page is dropped, the ground becomes transparent, and ink takes the page's colours.
    """
    names = _Names(name)
    root = _cleaned(svg, names)
    by_name = {element.attrib["id"]: element for element in root.iter() if "id" in element.attrib}
    for gid, (mark, spots) in parts.marks.items():
        if gid in (part.gid for part in (*parts.panels, *parts.keys)):
            continue
        element = by_name.get(names[gid])
        if element is not None:
            _note(element, mark.variant, mark.role, spots)
    whole = [float(each) for each in root.attrib["viewBox"].split()]
    if not parts.panels:
        _forget_names(root)
        only = Piece(_text(root, Box(*whole)), "", "", "", "", whole[2])
        return Picture("", [only], [], [])
    _remove(root, {names[gid] for gid in parts.titles})
    shared = _take_shared(root)
    groups = [[_cut(by_name[names[part.gid]], part) for part in each] for each in (parts.panels, parts.below)]
    keys = [_cut(by_name[names[part.gid]], part) for part in parts.keys]
    return Picture(_text(shared, None), groups[0], groups[1], keys)


def _cut(element: Element, part: Part) -> Piece:
    root = Element("svg")
    root.append(element)
    _forget_names(root)
    mark = part.mark
    return Piece(_text(root, part.box), part.text, mark.told, mark.variant, mark.task, part.box.width)


def _cleaned(svg: bytes, names: _Names) -> Element:
    root = ElementTree.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if _bare(child.tag) in ("metadata", "style", "script"):
                parent.remove(child)
    for element in root.iter():
        element.tag = _bare(element.tag)
        element.attrib = {_bare(key): _own(_bare(key), value, names) for key, value in element.attrib.items()}
        element.tail = None
        if element.tag not in ("text", "tspan"):
            element.text = None
    ground = root.find(f".//g[@id='{names['patch_1']}']")
    if ground is not None:
        ground.clear()
    return root


def _bare(name: str) -> str:
    return name.rpartition("}")[2]


def _own(key: str, value: str, names: _Names) -> str:
    """Return an attribute's value with names made the figure's own and inks the page's."""
    if key == "id":
        return names[value]
    if key == "href":
        if re.fullmatch(PICTURE_INSIDE, value):
            return value
        return f"#{names[value[1:]]}" if value.startswith("#") else ""
    if key in ("d", "x", "y"):
        return " ".join(re.sub(r"\d+\.\d+", _rounded, value).split())
    value = re.sub(r"url\(#([^)]*)\)", lambda found: f"url(#{names[found[1]]})", value)
    if key == "style":
        value = value.replace("; ", ";").replace(": ", ":")
    return value.replace(INK, "currentColor").replace(FAINT, "var(--faint)").replace("#ffffff", "var(--ground)")


def _rounded(number: re.Match[str]) -> str:
    """Return a coordinate to a tenth of a point, finer than a screen shows."""
    return f"{float(number[0]):.1f}".removesuffix(".0")


def _note(element: Element, variant: str, role: str, spots: Sequence[tuple[float, float, str]]) -> None:
    if variant:
        element.attrib["data-variant"] = variant
    if role:
        element.attrib["data-role"] = role
    if spots:
        element.attrib["data-spots"] = json.dumps(spots, separators=(",", ":"), ensure_ascii=False)


def _remove(root: Element, names: set[str]) -> None:
    for parent in root.iter():
        for child in [each for each in parent if each.attrib.get("id") in names]:
            parent.remove(child)


def _take_shared(root: Element) -> Element:
    """Take all definitions out of a picture: one part may use what was defined in another."""
    shared = Element("svg", {"aria-hidden": "true", "class": "shared", "width": "0", "height": "0"})
    for parent in list(root.iter()):
        for child in [each for each in parent if each.tag == "defs"]:
            parent.remove(child)
            shared.append(child)
    return shared


def _forget_names(root: Element) -> None:
    """Drop the names of groups; definitions keep theirs."""
    for element in root.iter("g"):
        element.attrib.pop("id", None)


def _text(root: Element, box: Box | None) -> str:
    if box is not None:
        for key in ("width", "height", "version"):
            root.attrib.pop(key, None)
        root.attrib |= {"viewBox": " ".join(f"{each:g}" for each in box), "aria-hidden": "true"}
    # matplotlib breaks lines between and inside elements.
    text = re.sub(r"\s*\n\s*|&#10;", " ", ElementTree.tostring(root, encoding="unicode"))
    return SPOTS.sub(_in_single_quotes, text)


def _in_single_quotes(attribute: re.Match[str]) -> str:
    """Return an attribute of JSON between the quotes that JSON does not use: a tenth of a page are spots."""
    json_text = attribute[2].replace("'", "&#39;").replace("&quot;", '"')
    return f" {attribute[1]}='{json_text}'"
