"""The softmax of a cell over the keys that its blocks reach, and the products before and after it.

On a CPU the products with keys are the fastest where each number of the heads lies side by side for all tokens, which
is how `LongformerAttention` projects where it can. A long row is then read, and its gradient summed, where it is; all
else is copied.

Letters beside the usual ones: N layout rows (batch, times the residues of a dilation); R = N H rows of products; L
queries and K keys of a piece; P queries and Q keys of a block; J blocks of a cell; G pinned tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from attention_arena.layers import Scratch, add_where
from attention_arena_variants.longformer.layout import heads_of, rows_of
from attention_arena_variants.longformer.walk import Cell, Piece, Walk

KEY, VALUE = 1, 2
"""Their places in projected heads, after the query's."""


class Keys(NamedTuple):
    """Keys (or values) of a piece: its run (R, K, E), and the pinned ones (R, G, E)."""

    run: Tensor
    pinned: Tensor | None


class Desk:
    """A piece laid out for its products: rows in the type of the products, and memory for copies, used again."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self.blank = Scratch(walk.work, walk.device)

    def lay_out(self, piece: Piece) -> None:
        """Turn to a piece: its queries, keys, and which of these are hidden."""
        walk, self.piece = self.walk, piece
        self.projected = walk.projected[piece.rows]
        H = self.projected.shape[3]
        self.tokens: Tensor | None = None
        self.hidden: Tensor | None = None
        self.since: Tensor | None = None
        if walk.pinned is not None:
            self.tokens = walk.projected.flatten(0, 1)[walk.pinned.tokens[piece.rows]].to(walk.work)  # (N', G, 3, H, E)
            self.since = walk.pinned.since[piece.rows].repeat_interleave(H, 0).unsqueeze(1)  # (R, 1, G)
        if walk.hidden is not None:
            hidden = walk.hidden[piece.rows, piece.keys].repeat_interleave(H, 0).unsqueeze(2)
            self.hidden = add_where(hidden, walk.work)  # (R, K, 1)
        self.query = self.rows("query", self.projected[:, piece.queries, 0])
        self.key = self.keys("key", KEY)
        R, L, _ = self.query.shape
        self.n_scores = min(walk.at_once, max(R, L // walk.block)) * walk.n_scores  # of a cell, at most

    def keys(self, name: str, place: int) -> Keys:
        """Return the piece's keys or values."""
        pinned = None if self.tokens is None else rows_of(self.tokens[:, :, place]).contiguous()
        return Keys(self.rows(name, self.projected[:, self.piece.keys, place]), pinned)

    def rows(self, name: str, x: Tensor, *, any_order: bool = False) -> Tensor:
        """Return heads (N', T, H, E) as rows (R, T, E): the very heads if tokens lie side by side, or a dense copy.

        In `any_order`, the numbers of a token may lie side by side too. The copy is in the memory of a `name`.
        """
        is_fit = x.stride(1) == 1 or (any_order and x.stride(3) == 1)
        if len(x) == 1 and x.dtype == self.walk.work and is_fit:
            return rows_of(x)
        rows = self.blank_rows(name, x, self.walk.work)
        heads_of(rows, len(x)).copy_(x)
        return rows

    def blank_rows(self, name: str, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Return rows (R, T, E) with any content for heads `x` (N', T, H, E), dense, in the order of memory of `x`."""
        N, T, H, E = x.shape
        if x.stride(1) < x.stride(3):
            return self.blank(name, N * H, E, T, dtype=dtype).mT
        return self.blank(name, N * H, T, E, dtype=dtype)

    def weights(self, cell: Cell) -> Tensor:
        """Return the softmax (J, P, G + Q) of a cell, pinned tokens first, in memory that the next cell takes."""
        scores = self.score("weights", cell, self.query, self.key)
        self._hide(cell, scores)
        return torch.softmax(scores, -1, out=scores)

    def score(self, name: str, cell: Cell, query: Tensor, keys: Keys) -> Tensor:
        """Return query (R, L, E) of a cell times its keys, scaled, (J, P, G + Q), in the memory of a `name`."""
        walk, G = self.walk, self.walk.n_pinned
        query = cell.of_queries(query)
        J, P, _ = query.shape
        out = self.blank(name, J, P, G + cell.reach, at_least=self.n_scores)
        _multiply(query, cell.of_keys(keys.run).mT, out[..., G:], walk.scale)
        if keys.pinned is not None:
            _multiply(query, cell.of_pinned(keys.pinned).mT, out[..., :G], walk.scale)
        return out

    def attend(self, cell: Cell, weights: Tensor, values: Keys, total: Tensor) -> None:
        """Write weights (J, P, G + Q) times values over the cell's queries in `total` (R, L, E)."""
        G = self.walk.n_pinned
        out = cell.of_queries(total)
        # Never to `out` itself: what is written there is no dense batch, for which products are slower.
        found = self.blank("found", *out.shape)
        run = values.run[cell.rows, cell.keys]
        # Here the sum is over tokens, and the numbers of each must lie side by side.
        if run.stride(2) != 1:
            run = self.blank("packed", *run.shape).copy_(run)
        _multiply(weights[..., G:], cell.windows(run, cell.reach), found)
        if values.pinned is not None:
            found.baddbmm_(weights[..., :G], cell.of_pinned(values.pinned))
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
            of_band.add_(cell.of_keys(self.hidden).mT)
        if self.since is not None:
            queries = torch.arange(first_query, first_query + P * cell.n_blocks, device=scores.device)
            unseen = queries[:, None] < self.since[cell.rows]  # (R', L', G)
            cell.join(scores)[..., : walk.n_pinned].add_(add_where(unseen, scores.dtype))


def _multiply(first: Tensor, second: Tensor, out: Tensor, scale: float = 1.0) -> None:
    # With `out`, autocast leaves the product in the type that it is written in.
    torch.baddbmm(out, first, second, beta=0, alpha=scale, out=out)
