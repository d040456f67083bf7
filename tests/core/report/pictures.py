"""A drawn figure as one element, for tests that look through all of it."""

from __future__ import annotations

from xml.sax.saxutils import escape

from attention_arena.report.page.drawing import Drawing


def one_element(drawing: Drawing) -> str:
    """Return the pieces of a figure inside one element, with the texts that the page sets beside them."""
    picture = drawing.picture
    assert picture is not None, drawing.nothing
    pieces = (*picture.panels, *picture.below, *picture.keys)
    texts = "".join(f"<text>{escape(piece.text)}</text>" for piece in pieces)
    return f"<svg >{picture.shared}{''.join(piece.svg for piece in pieces)}{texts}</svg>"
