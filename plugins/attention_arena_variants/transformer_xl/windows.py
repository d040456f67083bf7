"""Which keys a token may see when a text is read in segments, as rectangles of queries and keys.

Keys are the tokens before the input (the memory that was handed in, `n_before` of them) and the input's own; a place
among the keys is a token's place plus `n_before`. Further letters: L tokens in a segment, M rows of memory, P queries
and Q keys of a rectangle.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple


class Segment(NamedTuple):
    """Tokens from `start` up to `stop`; its memory begins at key `first_key`."""

    start: int
    stop: int
    first_key: int


class Block(NamedTuple):
    """The same rectangle in each of `n_segments` segments, L tokens apart."""

    query: int
    """First query, in the first of these segments."""
    n_queries: int
    """P."""
    key: int
    """First key, in the first of these segments."""
    n_keys: int
    """Q."""
    n_past: int
    """Keys to the left of the segment; they receive no gradient for the hidden states that they are made of."""
    lag: int
    """Distance from the first query back to the first key."""
    n_segments: int

    def n_distances(self, causal: bool) -> int:
        """Return how many distances it has: down to that of its first query and last key, or 0, and one below."""
        return self.n_keys + (1 if causal else self.n_queries)


@dataclass(frozen=True)
class Windows:
    """The windows of `n_tokens` tokens that follow `n_before` remembered ones.

    The first segment sees whatever was handed in, later ones the last `memory` keys before them. A query sees no
    distance of `span` and more (None: all), and no later key where `causal`.
    """

    segment_length: int
    memory: int
    causal: bool
    span: int | None
    n_before: int
    n_tokens: int

    def segments(self) -> Iterator[Segment]:
        """Yield the segments in order."""
        for start in range(0, self.n_tokens, self.segment_length):
            stop = min(start + self.segment_length, self.n_tokens)
            yield Segment(start, stop, max(0, self.n_before + start - self.memory) if start else 0)

    @property
    def has_past(self) -> bool:
        """Whether any token sees a key outside its segment."""
        return any(segment.first_key < self.n_before + segment.start for segment in self.segments())

    @cached_property
    def furthest(self) -> int:
        """Largest distance of a key."""
        return max(self.n_before + segment.stop - 1 - segment.first_key for segment in self.segments())

    @property
    def longest(self) -> int:
        """Tokens in the longest segment."""
        return min(self.segment_length, self.n_tokens)

    @property
    def nearest(self) -> int:
        """Smallest distance of a key; below 0 for keys after the query."""
        return 0 if self.causal else 1 - self.longest

    def blocks(self, longest: int) -> Iterator[Block]:
        """Yield rectangles of at most `longest` queries that hold all that is visible, and little else.

        Segments of one form share theirs.
        """

        def form(segment: Segment) -> tuple[int, int]:
            return segment.stop - segment.start, segment.start - segment.first_key

        for (length, _), group in itertools.groupby(self.segments(), form):
            first, *others = group
            n_pieces = -(-length // longest)
            n_queries = -(-length // n_pieces)
            for start in range(first.start, first.stop, n_queries):
                yield self._block(first, start, min(start + n_queries, first.stop), 1 + len(others))

    def _block(self, segment: Segment, start: int, stop: int, count: int) -> Block:
        """Return the rectangle of the queries from `start` up to `stop` of a segment."""
        place = self.n_before + start
        key = segment.first_key if self.span is None else max(segment.first_key, place - self.span + 1)
        end = self.n_before + (stop if self.causal else segment.stop)
        n_past = max(0, self.n_before + segment.start - key)
        return Block(start, stop - start, key, end - key, n_past, place - key, count)
