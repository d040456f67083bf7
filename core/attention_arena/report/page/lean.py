"""What matplotlib writes of a picture, without what it says twice or finer than can be seen: about half the bytes."""

from __future__ import annotations

import re

ONE = rb'<use [^>]*? style="([^"]*)"/>'
MARKERS = re.compile(rb'<g( clip-path="[^"]*")?>\s*(' + ONE + rb'(?:\s*<use [^>]*? style="\3"/>)+)\s*</g>')
"""A group of nothing but markers that all look the same, as along a line."""
OWN = re.compile(rb"(?:^|; )opacity:")
"""A property that is a group's own, and not inherited from it."""
PLACE = re.compile(rb'(<use xlink:href="#\w+" x="-?\d+(?:\.\d\d?)?)\d*(" y="-?\d+(?:\.\d\d?)?)\d*')
PATH = re.compile(rb'(<path [^>]*?\bd=")([^"]*)')
LINES = re.compile(rb"([ML] \S+ \S+)((?: L \S+ \S+)+)")
INDENTED = re.compile(rb"\n +(?=</?(?:g|use|path|defs|clipPath|rect|image|text)\b)")
"""Before elements between which space has no meaning; it has some inside of `text`."""


def lean(svg: bytes) -> bytes:
    """Return a picture that looks the same to a hundredth of a point, still as text that can be read and edited."""
    svg = MARKERS.sub(_styled_once, svg)
    svg = PLACE.sub(rb"\1\2", svg)
    svg = PATH.sub(_path, svg)
    return INDENTED.sub(b"\n", svg)


def _styled_once(group: re.Match[bytes]) -> bytes:
    """Return markers that inherit their style from their group."""
    clip, markers, style = group[1] or b"", group[2], group[3]
    if OWN.search(style):
        return group[0]
    return b'<g%s style="%s">%s</g>' % (clip, style, markers.replace(b' style="%s"' % style, b""))


def _path(path: re.Match[bytes]) -> bytes:
    """Return a path in hundredths of a point; after a first line, its letter says nothing."""
    rounded = re.sub(rb"(\.\d\d)\d+", rb"\1", path[2])
    joined = re.sub(rb"\s*\n", b" ", rounded)
    return path[1] + LINES.sub(lambda line: line[1] + line[2].replace(b" L", b""), joined)
