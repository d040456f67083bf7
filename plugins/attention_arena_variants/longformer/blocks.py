"""Pieces of the sequence, blocks of queries in them, and the softmax over the keys that each block reaches.

The heads of a piece are copied, each one dense by itself: products then run at their best speed, and what they read
and add to is in cache. The scores of one block, for as many heads as fit there too, are one product with the run of
keys that the block reaches. Two triangles at the corners of the run lie outside the band; nothing else in it is in
vain.

Letters beside the usual ones: N layout rows (batch, times the residues of a dilation); R = N H rows of products,
R' of them at once; L queries and K keys of a piece; P queries and Q keys of a block; G pinned tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from attention_arena.layers import Scratch, add_where, processor_of
from attention_arena_variants.longformer.layout import Band, Pinned, dense_rows, split

SCORES_AT_ONCE, SCORES_ON_ACCELERATORS = 2**19, 2**26
"""Scores of one product: on a CPU two such buffers stay in a core's cache."""
BLOCK, BLOCK_ON_ACCELERATORS = 64, 256
"""Queries of a block, or more where heads are few. Small ones make small products, large ones pairs out of the band."""
PIECE, PIECE_ON_ACCELERATORS = 2**19, 2**40
"""Numbers that the copied queries of a piece hold, about: memory is used again, while few keys are copied twice."""


def choose_block(device: str, band: Band, H: int) -> int:
    """Return how many queries make a block: more while its scores are few, and few of them outside the band."""
    if device != "cpu":
        return BLOCK_ON_ACCELERATORS
    block = BLOCK
    while 8 * block <= band.width and 2 * block * (band.width + 2 * block) * H <= SCORES_AT_ONCE // 2:
        block *= 2
    return block


class Cell(NamedTuple):
    """Some rows of products, one block of queries and the run of keys that it reaches, counted inside the piece."""

    rows: slice
    queries: slice
    keys: slice


class Piece(NamedTuple):
    """Some layout rows, a run of their queries, and the run of keys that these reach."""

    rows: slice
    queries: slice
    keys: slice


class Walk:
    """The pieces of one call, and how their queries see keys: the same forward and backward."""

    def __init__(
        self,
        projected: Tensor,
        band: Band,
        valid: Tensor | None,
        pinned: Pinned | None,
        dropout: float,
        seed: int,
    ) -> None:
        self.projected, self.band, self.pinned, self.dropout = projected, band, pinned, dropout
        self.T, E = projected.shape[1], projected.shape[4]
        self.device, self.scale = projected.device, E**-0.5
        self.on_cpu = processor_of(self.device) == "cpu"
        # CPUs have no fast products of half precision, accelerators have no fast ones of float32.
        self.work = torch.promote_types(projected.dtype, torch.float32) if self.on_cpu else projected.dtype
        self.block = min(choose_block(processor_of(self.device), band, projected.shape[3]), self.T)
        self.n_pinned = 0 if pinned is None else pinned.tokens.shape[1]
        self.hidden = None if valid is None else ~valid
        if pinned is not None:
            self.hidden = pinned.marked if self.hidden is None else self.hidden | pinned.marked
        outside = torch.full((self.block, self.block), -torch.inf, dtype=self.work, device=self.device)
        self.too_early, self.too_late = outside.tril(-1), outside.triu(1)
        self.generator = torch.Generator(self.device).manual_seed(seed) if dropout else None

    def pieces(self) -> Iterator[Piece]:
        """Yield the pieces: several layout rows where they are short, in order of the queries where they are long."""
        N, T, _, H, E = self.projected.shape
        n_tokens = (PIECE if self.on_cpu else PIECE_ON_ACCELERATORS) // (H * E)
        length = max(self.block, self.band.width, n_tokens) // self.block * self.block
        for rows in split(N, max(1, n_tokens // T)):
            for queries in split(T, length):
                yield Piece(rows, queries, self.band.keys_of(queries, T))

    def draw_kept(self, weights: Tensor) -> Tensor | None:
        """Return what dropout multiplies `weights` with; None without dropout."""
        if self.generator is None:
            return None
        kept = torch.empty_like(weights).bernoulli_(1 - self.dropout, generator=self.generator)
        return kept.div_(1 - self.dropout)


class Keys(NamedTuple):
    """Keys (or values) of a piece: its run (R, K, E), and the pinned ones (R, G, E)."""

    run: Tensor
    pinned: Tensor | None


class Desk:
    """A piece laid out for its products: heads first and dense, in the type that products are computed in.

    It takes memory once, and uses it for one piece after the other.
    """

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self.blank = Scratch(walk.work, walk.device)

    def lay_out(self, piece: Piece) -> None:
        """Copy a piece's heads."""
        walk, self.piece = self.walk, piece
        of_rows = walk.projected[piece.rows]
        query, key, value = of_rows.unbind(2)
        H = query.shape[2]
        picked: list[Tensor | None] = [None, None]
        self.hidden: Tensor | None = None
        self.since: Tensor | None = None
        if walk.pinned is not None:
            tokens = walk.projected.flatten(0, 1)[walk.pinned.tokens[piece.rows]]  # (N', G, 3, H, E)
            picked = [dense_rows(tokens[:, :, place].to(walk.work)) for place in (1, 2)]
            self.since = walk.pinned.since[piece.rows].repeat_interleave(H, 0).unsqueeze(1)  # (R, 1, G)
        if walk.hidden is not None:
            hidden = walk.hidden[piece.rows, piece.keys].repeat_interleave(H, 0).unsqueeze(1)
            self.hidden = add_where(hidden, walk.work)  # (R, 1, K)
        self.query = self.copied("query", query[:, piece.queries]).mul_(walk.scale)
        self.key = Keys(self.copied("key", key[:, piece.keys]), picked[0])
        self.value = Keys(self.copied("value", value[:, piece.keys]), picked[1])
        R, L, _ = self.query.shape
        reach = min(self.key.run.shape[1], walk.band.width + walk.block)
        n_scores = min(L, walk.block) * (walk.n_pinned + reach)
        at_once = SCORES_AT_ONCE if walk.on_cpu else SCORES_ON_ACCELERATORS
        self.n_rows = min(R, max(1, at_once // n_scores))
        self.n_scores = self.n_rows * n_scores

    def copied(self, name: str, x: Tensor) -> Tensor:
        """Return (N', T, H, E) as rows (N' H, T, E), copied to the memory of a `name`."""
        N, T, H, E = x.shape
        return self.blank(name, N, H, T, E).copy_(x.transpose(1, 2)).flatten(0, 1)

    def cells(self) -> Iterator[Cell]:
        """Yield the pieces of work, queries in order."""
        R, L, _ = self.query.shape
        first_query, first_key = self.piece.queries.start, self.piece.keys.start
        for queries in split(L, self.walk.block):
            seen = self.walk.band.keys_of(slice(first_query + queries.start, first_query + queries.stop), self.walk.T)
            keys = slice(seen.start - first_key, seen.stop - first_key)
            for rows in split(R, self.n_rows):
                yield Cell(rows, queries, keys)

    def weights(self, cell: Cell) -> Tensor:
        """Return the softmax (R', P, G + Q) of a cell, pinned tokens first, in memory that the next cell takes."""
        query = self.query[cell.rows, cell.queries]
        scores = self.score("weights", cell, query, self.key)
        self._hide(cell, scores)
        return torch.softmax(scores, -1, out=scores)

    def score(self, name: str, cell: Cell, query: Tensor, keys: Keys) -> Tensor:
        """Return query (R', P, E) times keys, (R', P, G + Q), in the memory of a `name`."""
        G = self.walk.n_pinned
        R, P, Q = *query.shape[:2], G + cell.keys.stop - cell.keys.start
        out = self.blank(name, R, P, Q, at_least=self.n_scores)
        _multiply(query, keys.run[cell.rows, cell.keys].mT, out[..., G:])
        if keys.pinned is not None:
            _multiply(query, keys.pinned[cell.rows].mT, out[..., :G])
        return out

    def attend(self, cell: Cell, weights: Tensor, values: Keys, total: Tensor) -> None:
        """Write weights (R', P, G + Q) times values over the cell's queries in `total` (R, L, E)."""
        G = self.walk.n_pinned
        out = total[cell.rows, cell.queries]
        # Never to `out` itself: what is written there is no dense batch, for which products are slower.
        found = self.blank("found", *out.shape)
        _multiply(weights[..., G:], values.run[cell.rows, cell.keys], found)
        if values.pinned is not None:
            found.baddbmm_(weights[..., :G], values.pinned[cell.rows])
        out.copy_(found)

    def _hide(self, cell: Cell, scores: Tensor) -> None:
        """Lower the scores of pairs that do not count."""
        walk = self.walk
        of_band = scores[..., walk.n_pinned :]
        P, Q = of_band.shape[1:]
        # Counted from where the run of the first query begins, column c is in the band of query p if p <= c <= p + w.
        first_query = self.piece.queries.start + cell.queries.start
        first = self.piece.keys.start + cell.keys.start - (first_query - walk.band.before)
        n_early = min(walk.block - first, Q)
        if n_early > 0:
            of_band[..., :n_early].add_(walk.too_early[:P, first : first + n_early])
        start_late = max(0, walk.band.width - first)
        if start_late < Q:
            offset = first - walk.band.width
            of_band[..., start_late:].add_(walk.too_late[:P, start_late + offset : Q + offset])
        if self.hidden is not None:
            of_band.add_(self.hidden[cell.rows, :, cell.keys])
        if self.since is not None:
            positions = torch.arange(first_query, first_query + P, device=scores.device)[:, None]
            unseen = add_where(positions < self.since[cell.rows], scores.dtype)
            scores[..., : walk.n_pinned].add_(unseen)


def _multiply(first: Tensor, second: Tensor, out: Tensor) -> None:
    # With `out`, autocast leaves the product in the type that it is written in.
    torch.bmm(first, second, out=out)
