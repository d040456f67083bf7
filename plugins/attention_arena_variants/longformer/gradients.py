"""Gradients of projected heads, summed over the blocks of a piece, and over the pieces.

Letters beside the usual ones: N layout rows (batch, times the residues of a dilation); R = N H rows of products; L
queries and K keys of a piece; P queries and Q keys of a block; J blocks of a cell; G pinned tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attention_arena_variants.longformer.blocks import KEY, VALUE, Desk
from attention_arena_variants.longformer.layout import Pinned, heads_of, rows_of
from attention_arena_variants.longformer.walk import Cell, Piece


class Written:
    """Rows (R, L, E) that are written over heads (N', L, H, E): their own memory if they are one layout row."""

    def __init__(self, name: str, heads: Tensor, desk: Desk) -> None:
        self.heads = heads
        self.rows = rows_of(heads) if len(heads) == 1 else desk.blank_rows(name, heads, desk.walk.work)

    def close(self) -> None:
        """Enter the rows, unless they are there."""
        if len(self.heads) > 1:
            self.heads.copy_(heads_of(self.rows, len(self.heads)))


class KeyGradient:
    """The gradient of a piece's keys or values in the making, in at least float32, to be added to heads (N', K, H, E).

    It is summed in the heads themselves, if they are one layout row of that type.
    """

    def __init__(self, name: str, heads: Tensor, desk: Desk) -> None:
        N, _, H, E = heads.shape
        work = torch.promote_types(heads.dtype, torch.float32)
        self.heads, self.is_own = heads, N == 1 and heads.dtype == work
        self.run = rows_of(heads) if self.is_own else desk.blank_rows(name, heads, work).zero_()  # (R, K, E)
        G = desk.walk.n_pinned
        self.pinned = torch.zeros(N * H, G, E, dtype=work, device=heads.device) if G else None

    def add(self, cell: Cell, weights: Tensor, x: Tensor) -> None:
        """Add weights (J, P, G + Q), transposed, times x (R, L, E)."""
        G = 0 if self.pinned is None else self.pinned.shape[1]
        x, total, of_run = cell.of_queries(x), cell.of_keys(self.run), weights[..., G:].mT
        # Blocks so many apart share no key.
        apart = 1 if cell.n_blocks == 1 else -(-cell.reach // cell.block)
        for first in range(min(apart, len(x))):
            some = slice(first, None, apart)
            _accumulate(total[some], of_run[some], x[some])
        if self.pinned is not None:
            _accumulate(self.pinned[cell.rows], cell.join(weights[..., :G]).mT, cell.join(x))

    def close(self) -> None:
        """Add the run to the heads, unless it is there."""
        if not self.is_own:
            self.heads.add_(heads_of(self.run, len(self.heads)))


class Gradients:
    """The gradient (N, T, 3, H, E) of the projected heads, in the making, in the same order of memory."""

    def __init__(self, projected: Tensor, dtype: torch.dtype, pinned: Pinned | None) -> None:
        self.projected = torch.empty_like(projected, dtype=dtype)
        self.projected[:, :, KEY:].zero_()
        self.tokens = None if pinned is None else pinned.tokens
        self.of_pinned: list[tuple[slice, list[Tensor]]] = []

    def open(self, piece: Piece, desk: Desk) -> tuple[Written, KeyGradient, KeyGradient]:
        """Return what a piece writes to: of its queries, and of its keys and values, which other pieces may see too."""
        heads = self.projected[piece.rows]
        query = Written("of query", heads[:, piece.queries, 0], desk)
        key = KeyGradient("of key", heads[:, piece.keys, KEY], desk)
        return query, key, KeyGradient("of value", heads[:, piece.keys, VALUE], desk)

    def close(self, piece: Piece, query: Written, key: KeyGradient, value: KeyGradient) -> None:
        """Enter what a piece found."""
        for written in (query, key, value):
            written.close()
        if key.pinned is not None and value.pinned is not None:
            self.of_pinned.append((piece.rows, [key.pinned, value.pinned]))

    def gather(self) -> Tensor:
        """Return the gradient, with pinned tokens added to their places."""
        for rows, found in self.of_pinned:
            assert self.tokens is not None
            tokens, T = self.tokens[rows], self.projected.shape[1]
            row, position = tokens.div(T, rounding_mode="floor"), tokens % T
            for place, total in enumerate(found, start=1):
                of_tokens = heads_of(total, len(tokens)).to(self.projected.dtype)  # (N', G, H, E)
                self.projected[:, :, place].index_put_((row, position), of_tokens, accumulate=True)
        return self.projected


def _accumulate(total: Tensor, first: Tensor, second: Tensor) -> None:
    if total.dtype == first.dtype:
        torch.baddbmm(total, first, second, out=total)
    else:
        total.add_(torch.bmm(first, second))
