"""Which keys a query sees by distance, which it sees wherever they are, and how heads become rows of products."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class Band(NamedTuple):
    """Keys that a query sees by distance: itself, `before` positions back and `after` ahead."""

    before: int
    after: int

    @property
    def width(self) -> int:
        """Positions of a whole band, less the query's own (w in the paper)."""
        return self.before + self.after

    def keys_of(self, queries: slice, T: int) -> slice:
        """Return the run of keys that `queries` reach among T tokens."""
        return slice(max(0, queries.start - self.before), min(T, queries.stop + self.after))


class Pinned(NamedTuple):
    """Tokens that queries see wherever they are, in the place of their key in the band.

    - `marked` (N, T) bool: True at pinned tokens.
    - `tokens` (N, G) int64: the pinned tokens of each layout row, counted through all N T tokens.
    - `since` (N, G) int64: the first position of the row that sees the token; T for one that nobody sees.

    N are layout rows: batch, times the residues of a dilation.
    """

    marked: Tensor
    tokens: Tensor
    since: Tensor


def split(T: int, size: int, first: int = 0) -> Iterator[slice]:
    """Yield T positions from `first` on in runs of `size`; the last may be shorter."""
    for start in range(first, first + T, size):
        yield slice(start, min(first + T, start + size))


def rows_of(x: Tensor) -> Tensor:
    """Return heads (N, T, H, E) as rows (N H, T, E): a view of one layout row, a copy of several."""
    return x.transpose(1, 2).flatten(0, 1)


def heads_of(rows: Tensor, N: int) -> Tensor:
    """Return rows (N H, T, E) as heads (N, T, H, E), a view."""
    return torch.unflatten(rows, 0, (N, -1)).transpose(1, 2)
