"""Absolute positions: learned, sinusoidal (Vaswani et al. 2017, section 3.5) and rotary (Su et al. 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def sinusoids(positions: Tensor, width: int, base: float = 10000.0) -> Tensor:
    """Return sinusoids (..., width) of `positions` (...), as [sin | cos] halves.

    The halves hold the same numbers as Vaswani's interleaved layout, in another order. An odd width drops the last
    cosine.
    """
    half = (width + 1) // 2
    exponents = torch.arange(half, device=positions.device, dtype=torch.float64) * 2 / max(width, 1)
    angles = positions.to(torch.float64).unsqueeze(-1) * base**-exponents
    return torch.cat([angles.sin(), angles.cos()], dim=-1)[..., :width]


def rotate(heads: Tensor, offset: int = 0, base: float = 10000.0) -> Tensor:
    """Rotate heads (..., T, E) by their positions `offset` to `offset + T - 1`; E must be even.

    The dot product of two rotated vectors depends on the distance of their positions alone.
    """
    T, E = heads.shape[-2:]
    positions = torch.arange(offset, offset + T, device=heads.device)
    sin, cos = sinusoids(positions, E, base).to(heads.dtype).chunk(2, dim=-1)  # (T, E/2) each
    first, second = heads.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class LearnedPositions(nn.Module):
    """A learned vector per position, added to the embedding; normal with deviation 0.02."""

    def __init__(self, max_length: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(max_length, width))
        nn.init.normal_(self.table, std=0.02)

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        """Add positions `offset` and on to `x` (B, T, D)."""
        stop = offset + x.shape[1]
        if stop > len(self.table):
            raise ValueError(f"learned positions reach {len(self.table)} tokens (max_length), got {stop}")
        return x + self.table[offset:stop]


class SinusoidalPositions(nn.Module):
    """Fixed sinusoids added to the embedding, which is scaled by sqrt(D) first."""

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        """Add positions `offset` and on to `x` (B, T, D)."""
        positions = torch.arange(offset, offset + x.shape[1], device=x.device)
        scaled: Tensor = x * x.shape[-1] ** 0.5
        return scaled + sinusoids(positions, x.shape[-1]).to(x.dtype)


class NoPositions(nn.Module):
    """Adds nothing: for rotary positions, relative ones, or none at all."""

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        """Return `x` as it is."""
        return x
