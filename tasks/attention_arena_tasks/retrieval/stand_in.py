"""A stand-in for citations: are two passages of Python's standard library from the same file?

Passages do not overlap. Where a pair is not from one file, its second passage comes from another file of the same
package, or, if the first is from a top-level module, from another such module, so that the kind of text gives little
away; only a package that has no second file in its split is paired with others. Files are dealt whole to the splits.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from attention_arena.passages import Draws, deal, passages
from attention_arena.python_sources import is_no_table, standard_library
from attention_arena.task import TaskError

SHARES = {"train": 70, "validation": 10, "test": 20}
"""Per cent of the bytes of all files."""
SHORTEST = 4
"""No passage is shorter than `max_length` over this."""
MOST = 64
"""Passages of one file, its first ones."""
TRIES = 100
"""Draws for each pair that is wanted, after which there are too few to be found."""
TOP = ""
"""The kind of top-level modules; that of others is their package."""


class Drawn(NamedTuple):
    """Passages, pairs of their places in that list, and the pairs' classes: 0 and 1 in turns, 1 from the same file."""

    passages: list[bytes]
    pairs: list[tuple[int, int]]
    targets: list[int]


class Span(NamedTuple):
    """Places from `start` up to `stop`."""

    start: int
    stop: int

    @property
    def n(self) -> int:
        """How many they are."""
        return self.stop - self.start


def draw(counts: dict[str, int], max_length: int, seed: int) -> dict[str, Drawn]:
    """Return distinct pairs of passages of at most `max_length` bytes, as many for each split as `counts` says."""
    library = standard_library(is_no_table)
    cut = {
        name: list(islice(passages(text, max_length, max(1, max_length // SHORTEST)), MOST))
        for name, text in library.items()
    }
    pieces = {name: parts for name, parts in cut.items() if len(parts) > 1}
    dealt = deal({name: sum(map(len, parts)) for name, parts in pieces.items()}, SHARES)
    return {
        split: _draw(_Pool({name: pieces[name] for name in dealt[split]}), counts[split], Draws(seed, place), split)
        for place, split in enumerate(SHARES)
    }


def kind(name: str) -> str:
    """Return what files are alike: those of one package, and the top-level modules."""
    package, slash, _ = name.partition("/")
    return package if slash else TOP


class _Pool:
    """The passages of a split, those of a file side by side and the files of a kind too, and where each lies."""

    def __init__(self, pieces: dict[str, list[bytes]]) -> None:
        names = sorted(pieces, key=lambda name: (kind(name), name))
        self.passages = [text for name in names for text in pieces[name]]
        self.everything = Span(0, len(self.passages))
        self.file_of = _spans([name for name in names for _ in pieces[name]])
        self.kind_of = _spans([kind(name) for name in names for _ in pieces[name]])

    def pair(self, same: bool, draws: Draws) -> tuple[int, int] | None:
        """Return two passages of one file, or of two files; None where there are none."""
        if not self.passages:
            return None
        first = draws.below(len(self.passages))
        file = self.file_of[first]
        if same:
            return first, _outside(Span(first, first + 1), file, draws)
        among = self.kind_of[first] if self.kind_of[first].n > file.n else self.everything
        return (first, _outside(file, among, draws)) if among.n > file.n else None


def _outside(span: Span, among: Span, draws: Draws) -> int:
    """Return a place of `among`, which holds `span` and more, that is not of `span`."""
    place = among.start + draws.below(among.n - span.n)
    return place if place < span.start else place + span.n


def _spans(names: Sequence[str]) -> list[Span]:
    """Return for each name the span of its equals, which lie side by side."""
    spans: list[Span] = []
    while len(spans) < len(names):
        start = stop = len(spans)
        while stop < len(names) and names[stop] == names[start]:
            stop += 1
        spans += [Span(start, stop)] * (stop - start)
    return spans


def _draw(pool: _Pool, wanted: int, draws: Draws, split: str) -> Drawn:
    seen: set[tuple[int, int]] = set()  # asked for membership alone, so its order never matters
    pairs: list[tuple[int, int]] = []
    for _ in range(TRIES * wanted):
        if len(pairs) == wanted:
            break
        pair = pool.pair(len(pairs) % 2 == 1, draws)
        if pair is not None and (min(pair), max(pair)) not in seen:
            seen.add((min(pair), max(pair)))
            pairs.append(pair)
    if len(pairs) < wanted:
        raise TaskError(
            f"only {len(pairs)} distinct pairs were found for the {split} split among {len(pool.passages)} passages, "
            f"but {wanted} are asked for: lower n_{split}"
        )
    used: dict[int, int] = {}
    renamed = [(used.setdefault(first, len(used)), used.setdefault(second, len(used))) for first, second in pairs]
    return Drawn([pool.passages[place] for place in used], renamed, [place % 2 for place in range(wanted)])
