"""Blocks of queries, and the softmax over the keys that each block reaches.

The scores of one block, for as many heads as fit a core's cache, are one product with the run of keys that the block
reaches. Two triangles at the corners of the run lie outside the band; nothing else in it is in vain.

Letters beside the usual ones: N layout rows (batch, times the residues of a dilation); R = N H rows of products,
R' of them at once; P queries and Q keys of a block; G pinned tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

SCORES_AT_ONCE = {"cpu": 2**19, "meta": 2**19}
"""Scores of one product, by device: two such buffers stay in a core's cache."""
SCORES_ON_ACCELERATORS = 2**26
BLOCK = 64
"""Queries of a block. Fewer make small products, more compute more keys outside the band."""
BLOCK_ON_ACCELERATORS = 256


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
    """

    marked: Tensor
    tokens: Tensor
    since: Tensor


def choose_block(device: str) -> int:
    """Return how many queries make a block on a type of device."""
    return BLOCK if device in SCORES_AT_ONCE else BLOCK_ON_ACCELERATORS


def split(T: int, size: int) -> Iterator[slice]:
    """Yield T queries in blocks; the last may be shorter."""
    for start in range(0, T, size):
        yield slice(start, min(T, start + size))


class Cell(NamedTuple):
    """Some rows of one block, and the run of keys that it reaches."""

    rows: slice
    queries: slice
    keys: slice


class Keys(NamedTuple):
    """Keys (or values) of the rows: all tokens (R, T, E), and the pinned ones (R, G, E)."""

    all: Tensor
    pinned: Tensor | None


class Walk:
    """The blocks of one call, in the same order forward and backward, and the weights of each."""

    def __init__(
        self,
        projected: Tensor,
        band: Band,
        valid: Tensor | None,
        pinned: Pinned | None,
        dropout: float,
        seed: int,
    ) -> None:
        N, self.T, _, H, E = projected.shape
        device = projected.device
        self.band, self.scale, self.dropout = band, E**-0.5, dropout
        self.block = min(choose_block(device.type), self.T)
        self.query, key, value = (rows_of(part) for part in projected.unbind(2))  # (R, T, E) each
        self.n_pinned = 0 if pinned is None else pinned.tokens.shape[1]
        picked = None if pinned is None else projected.flatten(0, 1)[pinned.tokens]  # (N, G, 3, H, E)
        self.key = Keys(key, None if picked is None else rows_of(picked[:, :, 1]))
        self.value = Keys(value, None if picked is None else rows_of(picked[:, :, 2]))
        outside = torch.full((self.block, self.block), -torch.inf, dtype=projected.dtype, device=device)
        self.too_early, self.too_late = outside.tril(-1), outside.triu(1)
        hidden = _either(None if valid is None else ~valid, None if pinned is None else pinned.marked)
        self.hidden = None if hidden is None else _spread(_add_where(hidden, projected.dtype), H)  # (R, 1, T)
        self.since = None if pinned is None else _spread(pinned.since, H)  # (R, 1, G)
        n_scores = self.block * (self.n_pinned + min(self.T, band.width + self.block))
        at_once = SCORES_AT_ONCE.get(device.type, SCORES_ON_ACCELERATORS)
        self.n_rows = min(N * H, max(1, at_once // n_scores))
        self.buffer = projected.new_empty(self.n_rows * n_scores)
        self.generator = torch.Generator(device).manual_seed(seed) if dropout else None

    def cells(self) -> Iterator[Cell]:
        """Yield the pieces of work, queries in order."""
        for queries in split(self.T, self.block):
            keys = self.band.keys_of(queries, self.T)
            for start in range(0, len(self.query), self.n_rows):
                yield Cell(slice(start, start + self.n_rows), queries, keys)

    def weights(self, cell: Cell) -> Tensor:
        """Return the softmax (R', P, G + Q) of some rows, pinned tokens first, in a buffer that the next call takes."""
        query = self.query[cell.rows, cell.queries]
        shape = (*query.shape[:2], self.n_pinned + cell.keys.stop - cell.keys.start)
        scores = self.score(cell, query, self.key, shaped(self.buffer, shape), self.scale)
        self._hide(cell, scores)
        return torch.softmax(scores, -1, out=scores)

    def score(self, cell: Cell, query: Tensor, keys: Keys, out: Tensor, scale: float = 1.0) -> Tensor:
        """Write query (R', P, E) times keys, times `scale`, into `out` (R', P, G + Q), and return it."""
        _multiply(query, keys.all[cell.rows, cell.keys].mT, out[..., self.n_pinned :], scale)
        if keys.pinned is not None:
            _multiply(query, keys.pinned[cell.rows].mT, out[..., : self.n_pinned], scale)
        return out

    def attend(self, cell: Cell, weights: Tensor, values: Keys, total: Tensor, scale: float = 1.0) -> None:
        """Write weights (R', P, G + Q) times values, times `scale`, over the cell's queries in `total` (R, T, E)."""
        out = total[cell.rows, cell.queries]
        _multiply(weights[..., self.n_pinned :], values.all[cell.rows, cell.keys], out, scale)
        if values.pinned is not None:
            out.baddbmm_(weights[..., : self.n_pinned], values.pinned[cell.rows], alpha=scale)

    def draw_kept(self, weights: Tensor) -> Tensor | None:
        """Return what dropout multiplies `weights` with; None without dropout."""
        if self.generator is None:
            return None
        kept = torch.empty_like(weights).bernoulli_(1 - self.dropout, generator=self.generator)
        return kept.div_(1 - self.dropout)

    def _hide(self, cell: Cell, scores: Tensor) -> None:
        """Lower the scores of pairs that do not count."""
        of_band = scores[..., self.n_pinned :]
        P, Q = of_band.shape[1:]
        # Counted from where the run of the first query begins, column c is in the band of query p if p <= c <= p + w.
        first = cell.keys.start - (cell.queries.start - self.band.before)
        n_early = min(self.block - first, Q)
        if n_early > 0:
            of_band[..., :n_early].add_(self.too_early[:P, first : first + n_early])
        start_late = max(0, self.band.width - first)
        if start_late < Q:
            offset = first - self.band.width
            of_band[..., start_late:].add_(self.too_late[:P, start_late + offset : Q + offset])
        if self.hidden is not None:
            of_band.add_(self.hidden[cell.rows, :, cell.keys])
        if self.since is not None:
            positions = torch.arange(cell.queries.start, cell.queries.stop, device=scores.device)[:, None]
            unseen = _add_where(positions < self.since[cell.rows], scores.dtype)
            scores[..., : self.n_pinned].add_(unseen)


def rows_of(x: Tensor) -> Tensor:
    """Return (N, T, H, E) as rows (N H, T, E): a view where there is one layout row, or the heads come first."""
    return x.transpose(1, 2).flatten(0, 1)


def shaped(buffer: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the start of `buffer` in a shape (R', P, Q)."""
    R, P, Q = shape
    return buffer[: R * P * Q].view(shape)


def _spread(x: Tensor, H: int) -> Tensor:
    """Repeat `x` (N, C) for each head: (N H, 1, C)."""
    return x.repeat_interleave(H, 0).unsqueeze(1)


def _either(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first | second


def _add_where(hidden: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what to add to a score: 0, or where `hidden` so much that nothing of it is left.

    Finite, so that a query without any key has weights that are numbers.
    """
    return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, torch.finfo(dtype).min / 4)


def _multiply(first: Tensor, second: Tensor, out: Tensor, scale: float) -> None:
    torch.baddbmm(out, first, second, beta=0, alpha=scale, out=out)
