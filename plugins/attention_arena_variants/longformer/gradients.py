"""Gradients of projected heads, summed over the blocks of a band.

Letters beside the usual ones: N layout rows (batch, times the residues of a dilation); R = N H rows of products,
R' of them at once; P queries and Q keys of a block; G pinned tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attention_arena_variants.longformer.blocks import Cell, Pinned, rows_of


class Total:
    """The gradient of keys or values, summed over blocks, in at least float32."""

    def __init__(self, rows: Tensor, n_pinned: int) -> None:
        self.rows = rows  # (R, T, E)
        self.pinned = rows.new_zeros(len(rows), n_pinned, rows.shape[2]) if n_pinned else None
        self.n_pinned = n_pinned

    def add(self, cell: Cell, weights: Tensor, x: Tensor, scale: float) -> None:
        """Add weights (R', P, G + Q), transposed, times x (R', P, E), times `scale`."""
        _accumulate(self.rows[cell.rows, cell.keys], weights[..., self.n_pinned :].mT, x, scale)
        if self.pinned is not None:
            _accumulate(self.pinned[cell.rows], weights[..., : self.n_pinned].mT, x, scale)


class Gradients:
    """The gradient of the projected heads, in the making."""

    def __init__(self, projected: Tensor, pinned: Pinned | None) -> None:
        N, T, _, H, E = projected.shape
        n_pinned = 0 if pinned is None else pinned.tokens.shape[1]
        self.pinned_tokens = None if pinned is None else pinned.tokens
        self.projected = projected.new_empty(N, T, 3, H, E) if N == 1 else _heads_first(projected)
        self.query, *parts = (rows_of(part) for part in self.projected.unbind(2))
        work = torch.promote_types(projected.dtype, torch.float32)
        self.parts = parts
        self.key, self.value = (
            Total(part if part.dtype == work else torch.empty(part.shape, dtype=work, device=part.device), n_pinned)
            for part in parts
        )
        self.reached = 0

    def reach(self, stop: int) -> None:
        """Clear the sums of keys up to `stop`: piece by piece, so that they are in cache when they are added to."""
        if stop > self.reached:
            for total in (self.key, self.value):
                total.rows[:, self.reached : stop].zero_()
            self.reached = stop

    def gather(self) -> Tensor:
        """Return the gradient (N, T, 3, H, E), with pinned tokens added to their places."""
        for place, (part, total) in enumerate(zip(self.parts, (self.key, self.value), strict=True), start=1):
            if total.rows is not part:
                part.copy_(total.rows)
            if total.pinned is not None and self.pinned_tokens is not None:
                self._add_pinned(place, total.pinned)
        return self.projected

    def _add_pinned(self, place: int, total: Tensor) -> None:
        assert self.pinned_tokens is not None
        N, T, _, H, E = self.projected.shape
        tokens = total.to(self.projected.dtype).view(N, H, -1, E).transpose(1, 2)  # (N, G, H, E)
        row, position = self.pinned_tokens.div(T, rounding_mode="floor"), self.pinned_tokens % T
        self.projected[:, :, place].index_put_((row, position), tokens, accumulate=True)


def _heads_first(projected: Tensor) -> Tensor:
    """Return an empty tensor of the shape (N, T, 3, H, E) of `projected`, whose rows are a view."""
    N, T, _, H, E = projected.shape
    return projected.new_empty(3, N, H, T, E).permute(1, 3, 0, 2, 4)


def _accumulate(total: Tensor, first: Tensor, second: Tensor, scale: float) -> None:
    if total.dtype == first.dtype:
        torch.baddbmm(total, first, second, alpha=scale, out=total)
    else:
        total.add_(torch.bmm(first, second), alpha=scale)
