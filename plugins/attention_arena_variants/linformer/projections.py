"""Projections of the length: from one row per token to a fixed number of slots (Wang et al. 2020, section 4).

A projection shortens the rows (B, T, D) of keys or values to slots (B, R, D). Every kind starts from `max_length`
tokens and does the same to fewer: positions that are padding, or that a shorter input does not have, count as rows of
zeros (the maximum leaves them out). A slot that no position reaches is zero. No slot is ever hidden from the softmax,
so what a row of a batch gives does not depend on how far it is padded; a short input, though, shares its weight with
slots that hold little or nothing of it.

Letters beside the usual ones: R slots (k in the paper); W windows and P positions of a window; G groups of heads
that have a matrix of their own, 1 or H.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from attention_arena.variant import ModelShape
from attention_arena_variants.linformer.shortening import shorten

Sharing = Literal["none", "headwise", "key_value", "layerwise"]


class Projection(nn.Module):
    """Shortens rows to slots.

    `n_slots` is R. `commutes` says that all channels are mixed alike, so that shortening and mapping each row by a
    matrix can be done in either order.
    """

    n_slots: int
    commutes: bool

    def forward(self, rows: Tensor, valid: Tensor | None = None, kept: Tensor | None = None) -> Tensor:
        """Return the slots (B, R, D) of `rows` (B, T, D); rows outside `valid` (B, T) may hold anything finite.

        `kept` is what `layers.kept_of` returned for these very rows, if they are an argument of other products too.
        """
        raise NotImplementedError(f"{type(self).__name__} has no forward")


class LinearProjection(Projection):
    """The paper's E (and F): a learned matrix of R x `max_length` without bias, of which T columns are used.

    Xavier-uniform with gain 1/sqrt(2), as in the authors' code: entries of variance 1 / (R + max_length) give slots the
    scale of keys. The N(0, 1/R) of the paper's proof would give them sqrt(max_length / R) times that scale.
    """

    def __init__(self, shape: ModelShape, rank: int, own_per_head: bool) -> None:
        super().__init__()
        self.n_slots = rank
        self.commutes = not own_per_head
        self.matrix = nn.Parameter(torch.empty(shape.n_heads if own_per_head else 1, rank, shape.max_length))
        for matrix in self.matrix:
            nn.init.xavier_uniform_(matrix, gain=0.5**0.5)

    def forward(self, rows: Tensor, valid: Tensor | None = None, kept: Tensor | None = None) -> Tensor:
        """Return E rows, per group of heads."""
        of_kept = None if kept is None else self._group(kept)
        slots = shorten(self.matrix[..., : rows.shape[1]], self._group(zero_padding(rows, valid)), of_kept)
        return slots.transpose(1, 2).flatten(2)

    def _group(self, rows: Tensor) -> Tensor:
        B, T, _ = rows.shape
        return rows.view(B, T, len(self.matrix), -1).transpose(1, 2)  # (B, G, T, D/G)


class PoolingProjection(Projection):
    """Windows of ceil(max_length / rank) positions, side by side, each giving one slot.

    The last window of an input may be cut short. Rounding up can leave fewer slots than `rank`, since a slot that no
    position of the longest input reaches is left out.
    """

    def __init__(self, shape: ModelShape, rank: int) -> None:
        super().__init__()
        self.window = math.ceil(shape.max_length / rank)
        self.n_slots = math.ceil(shape.max_length / self.window)

    def split(self, rows: Tensor, missing: float = 0.0) -> Tensor:
        """Return `rows` (B, T, D) as windows (B, W, P, D), with the value `missing` behind the last row."""
        B, T, D = rows.shape
        short = -T % self.window
        padded = functional.pad(rows, (0, 0, 0, short), value=missing) if short else rows
        return padded.view(B, -1, self.window, D)

    def fill(self, slots: Tensor) -> Tensor:
        """Return `slots` (B, W, D) with the zero slots of windows that the input does not have, (B, R, D)."""
        return functional.pad(slots, (0, 0, 0, self.n_slots - slots.shape[1]))


class MeanProjection(PoolingProjection):
    """The mean of each window: a matrix with 1 / P at its positions, so missing ones count as zeros."""

    commutes = True

    def forward(self, rows: Tensor, valid: Tensor | None = None, kept: Tensor | None = None) -> Tensor:
        """Return the means, always over P."""
        return self.fill(self.split(zero_padding(rows, valid)).mean(2))


class MaxProjection(PoolingProjection):
    """The maximum of each window in each channel, over valid positions alone; zero where a window has none."""

    commutes = False

    def forward(self, rows: Tensor, valid: Tensor | None = None, kept: Tensor | None = None) -> Tensor:
        """Return the maxima."""
        if valid is None:
            return self.fill(self.split(rows, missing=-torch.inf).max(2).values)
        rows = rows.masked_fill(~valid.unsqueeze(-1), -torch.inf)
        highest = self.split(rows, missing=-torch.inf).max(2).values  # (B, W, D)
        return self.fill(highest.masked_fill(highest == -torch.inf, 0.0))


class ConvolutionProjection(PoolingProjection):
    """A learned weighted sum of each window: a depthwise convolution whose stride is its kernel.

    Each channel of a head has weights of its own; heads share them unless `own_per_head`. Missing positions count as
    zeros. Weights start uniform with variance 1 / P, which gives slots the scale of keys (the paper gives none).
    """

    commutes = False

    def __init__(self, shape: ModelShape, rank: int, own_per_head: bool) -> None:
        super().__init__(shape, rank)
        self.n_heads = shape.n_heads
        self.weight = nn.Parameter(torch.empty(self.window, shape.n_heads if own_per_head else 1, shape.d_head))
        bound = (3 / self.window) ** 0.5
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, rows: Tensor, valid: Tensor | None = None, kept: Tensor | None = None) -> Tensor:
        """Return the weighted sums."""
        windows = self.split(zero_padding(rows, valid))
        by_head = windows.view(*windows.shape[:3], self.n_heads, -1)  # (B, W, P, H, E)
        return self.fill((by_head * self.weight).sum(2).flatten(2)).to(rows.dtype)


KINDS: dict[str, Callable[[ModelShape, int, bool], Projection]] = {
    "linear": LinearProjection,
    "mean": lambda shape, rank, own_per_head: MeanProjection(shape, rank),
    "max": lambda shape, rank, own_per_head: MaxProjection(shape, rank),
    "convolution": ConvolutionProjection,
}
"""(shape, rank, whether heads have weights of their own) -> projection."""

LEARNED = ("linear", "convolution")
"""Kinds that have weights to share."""


def build_projections(
    kind: str, sharing: Sharing, ranks: Sequence[int], shape: ModelShape
) -> list[tuple[Projection, Projection]]:
    """Return the projections of keys and of values for each layer; what is shared is one object.

    A model of N layers then has 2 H N matrices (`none`), 2 N (`headwise`), N (`key_value`) or 1 (`layerwise`).
    """
    if kind in LEARNED and sharing == "layerwise":
        everywhere = KINDS[kind](shape, ranks[0], False)
        return [(everywhere, everywhere) for _ in ranks]
    pairs = []
    for rank in ranks:
        of_key = of_value = KINDS[kind](shape, rank, sharing == "none")
        if kind in LEARNED and sharing != "key_value":
            of_value = KINDS[kind](shape, rank, sharing == "none")
        pairs.append((of_key, of_value))
    return pairs


def zero_padding(rows: Tensor, valid: Tensor | None) -> Tensor:
    """Return `rows` (B, T, D) with zeros outside `valid` (B, T)."""
    return rows if valid is None else rows.masked_fill(~valid.unsqueeze(-1), 0.0)
