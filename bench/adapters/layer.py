"""What the wrappers of other packages' layers have in common."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.cases import Cell


class PeerLayer(nn.Module):
    """Another package's attention as a layer from (B, T, D) to (B, T, D), projections included, without dropout."""

    takes_mask = True
    """Whether `valid` (B, T) may be given."""
    random = False
    """Whether it draws what it attends to, so that a batch's other rows or lengths may change a row."""

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Attend over `x` (B, T, D); `valid` (B, T) is True at real tokens."""
        raise NotImplementedError

    def dense(self, x: Tensor) -> Tensor | None:
        """Return what the layer must give for `x`, from n x n matrices; None where chance decides."""
        return None


def attend_densely(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None = None) -> Tensor:
    """Return heads (B, H, T, E) of softmax attention over the pairs in `allowed` (T, T), with the matrix in memory."""
    scores = query @ key.mT * query.shape[-1] ** -0.5
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    heads: Tensor = scores.softmax(-1) @ value
    return heads


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    """Return (B, T, D) as (B, H, T, E)."""
    B, T, _ = x.shape
    return x.view(B, T, n_heads, -1).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """Return (B, H, T, E) as (B, T, D)."""
    return x.transpose(1, 2).flatten(2)


def band(T: int, before: int, after: int) -> Tensor:
    """Return which keys lie from `before` places before a query to `after` behind it, (T, T) bool."""
    ahead = torch.arange(T) - torch.arange(T)[:, None]
    return (ahead >= -before) & (ahead <= after)


def window_of(cell: Cell, window: int) -> tuple[int, int]:
    """Return how many keys before and after a query a window of `window` has."""
    return (window, 0) if cell.causal else (window // 2, window // 2)
