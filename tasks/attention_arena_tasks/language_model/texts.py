"""What a corpus is before it becomes tokens: texts, each of which belongs to a split and has a place in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from attention_arena.task import Source

SPLITS = ("train", "validation", "test")
SHARES = {"train": 90, "validation": 5, "test": 5}
"""Per cent of the files, or of a single file's bytes."""

Caps = Mapping[str, int | None]
"""Bytes of text to use of each split; None is all."""


class Text(NamedTuple):
    """A piece of a split. Texts of a split follow each other in the order of their places, however they are read."""

    split: str
    place: str
    name: str
    """The file that it comes from, for errors."""
    content: bytes
    start: int = 0
    """Where it begins in that file."""


def cuts(size: int) -> Iterator[tuple[str, int, int]]:
    """Yield each split's beginning and end in a file of `size` bytes that is cut by position."""
    start, percent = 0, 0
    for split, share in SHARES.items():
        percent += share
        stop = size * percent // 100
        yield split, start, stop
        start = stop


@dataclass(frozen=True)
class Corpus:
    """Texts that can be read again and again, and where they come from."""

    key: str
    """Begins the name of the prepared data."""
    read: Callable[[], Iterator[Text]]
    seen: Any
    """A JSON value that is another one when the texts are."""
    source: Source
    where: str
    """For errors about the whole."""
    separator: bytes = b""
    """Stands between texts of a split where tokens are bytes or characters."""
