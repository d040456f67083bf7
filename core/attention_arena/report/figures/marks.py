"""What a page must know of a picture's artists: whose they are, and what can be read off them.

Marks change nothing that is drawn. With them a page can hide a variant or a task, and show the value of a point.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from textwrap import shorten
from typing import Any, NamedTuple

ATTRIBUTE = "attention_arena_mark"
MOST_LETTERS = 900
"""Of what a panel is said to show; the numbers have the rest."""
FRONTIER = "frontier"
"""Role of a line that joins what no other point beats; a page draws it anew when it hides a point."""


class Spot(NamedTuple):
    """A point in its panel's coordinates, and what is to be read there."""

    x: float
    y: float
    text: str


class Mark(NamedTuple):
    """What is known of an artist; empty where it is no variant's, or no task's."""

    variant: str = ""
    task: str = ""
    spots: Sequence[Spot] = ()
    role: str = ""
    told: str = ""
    """What a panel shows, in words made of its data, for those who cannot see it."""


def put_mark(artist: Any, mark: Mark) -> None:
    """Mark an artist, or a panel with all that it holds."""
    setattr(artist, ATTRIBUTE, mark)


def mark_of(artist: Any) -> Mark | None:
    """Return an artist's mark, if it has one."""
    found = getattr(artist, ATTRIBUTE, None)
    return found if isinstance(found, Mark) else None


def mark_panel(panel: Any, task: str, told: str = "", variant: str = "") -> None:
    """Say which task a panel is about, what it shows, and whose it is if it is one variant's alone."""
    put_mark(panel, Mark(variant, task, told=shorten(told, MOST_LETTERS, placeholder=" …")))


@contextmanager
def of_variant(panel: Any, label: str, spots: Sequence[Spot] = ()) -> Iterator[None]:
    """Mark whatever is drawn into `panel` inside this as a variant's, and let `spots` be read there."""
    before = {id(each) for each in panel.get_children()}
    yield
    for artist in panel.get_children():
        if id(artist) not in before:
            put_mark(artist, Mark(label, spots=spots))
            spots = ()
