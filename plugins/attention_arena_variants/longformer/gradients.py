"""Gradients of projected heads, summed over the blocks of a piece, and over the pieces.

Letters beside the usual ones: N layout rows (batch, times the residues of a dilation); R = N H rows of products,
R' of them at once; K keys of a piece; P queries and Q keys of a block; G pinned tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attention_arena_variants.longformer.blocks import Cell, Desk, Keys, Piece
from attention_arena_variants.longformer.layout import Pinned, heads_of, put_rows


class KeyGradient:
    """The gradient of a piece's keys or values in the making, in at least float32."""

    def __init__(self, name: str, keys: Keys, desk: Desk) -> None:
        work = torch.promote_types(keys.run.dtype, torch.float32)
        self.run = desk.blank(name, *keys.run.shape, dtype=work).zero_()  # (R, K, E)
        self.pinned = None if keys.pinned is None else torch.zeros_like(keys.pinned, dtype=work)  # (R, G, E)

    def add(self, cell: Cell, weights: Tensor, x: Tensor) -> None:
        """Add weights (R', P, G + Q), transposed, times x (R', P, E)."""
        G = 0 if self.pinned is None else self.pinned.shape[1]
        _accumulate(self.run[cell.rows, cell.keys], weights[..., G:].mT, x)
        if self.pinned is not None:
            _accumulate(self.pinned[cell.rows], weights[..., :G].mT, x)


class Gradients:
    """The gradient (N, T, 3, H, E) of the projected heads, in the making."""

    def __init__(self, projected: Tensor, pinned: Pinned | None) -> None:
        self.projected = torch.empty(projected.shape, dtype=projected.dtype, device=projected.device)
        self.tokens = None if pinned is None else pinned.tokens
        self.reached = 0
        self.of_pinned: list[tuple[slice, list[Tensor]]] = []

    def put(self, piece: Piece, query: Tensor, key: KeyGradient, value: KeyGradient) -> None:
        """Enter what a piece found: of queries (R, L, E), and of keys and values, some of which the last piece saw."""
        of_rows = self.projected[piece.rows]
        put_rows(query, of_rows[:, piece.queries, 0])
        n_seen = self.reached - piece.keys.start if piece.queries.start else 0
        for place, total in enumerate((key, value), start=1):
            target, run = of_rows[:, piece.keys, place], heads_of(total.run, len(of_rows))  # (N', K, H, E)
            target[:, :n_seen].add_(run[:, :n_seen])
            target[:, n_seen:].copy_(run[:, n_seen:])
        self.reached = piece.keys.stop
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
