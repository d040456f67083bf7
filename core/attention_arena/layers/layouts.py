"""Layouts: which tokens stand in which row of a dense product, as views of whole tensors.

Letters beside the usual ones: N layout rows (batch times blocks); P queries or keys of a layout row; C numbers of a
head's token.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Layout(Protocol):
    """Where the queries or keys of a part come from."""

    def take(self, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Return the tokens of `x` (B, T, H, C) as (N, P, H, C), in a type; a view where type and strides allow it."""

    def put(self, total: Tensor, part: Tensor) -> None:
        """Write `part` (N, P, H, C) over the tokens of `total` (B, T, H, C) that `take` reads, where they are new."""

    def give(self, total: Tensor, part: Tensor) -> None:
        """Add `part` (N, P, H, C) to the tokens of `total` (B, T, H, C) that `take` reads."""


class Tiling:
    """A layout that names each of some tokens once: a view `tiles` of them, (B, N / B, P, H, C), says which."""

    def tiles(self, x: Tensor) -> Tensor:
        """Return the tokens of `x` (B, T, H, C) as a view (B, N / B, P, H, C)."""
        raise NotImplementedError(f"{type(self).__name__} has no tiles")

    def take(self, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Return layout rows (N, P, H, C)."""
        return self.tiles(x).to(dtype or x.dtype).flatten(0, 1)

    def put(self, total: Tensor, part: Tensor) -> None:
        """Write layout rows (N, P, H, C)."""
        tiles = self.tiles(total)
        tiles.copy_(part.view(tiles.shape))

    def give(self, total: Tensor, part: Tensor) -> None:
        """Add layout rows (N, P, H, C)."""
        tiles = self.tiles(total)
        tiles.add_(part.view(tiles.shape))


@dataclass(frozen=True)
class Blocks(Tiling):
    """Positions `start` up to `stop` (None: the end) in blocks of `size`, which must divide them: N = B blocks."""

    size: int
    start: int = 0
    stop: int | None = None

    def tiles(self, x: Tensor) -> Tensor:
        """Return blocks (B, blocks, size, H, C)."""
        B, _, H, C = x.shape
        return x[:, self.start : self.stop].view(B, -1, self.size, H, C)


@dataclass(frozen=True)
class Windows:
    """Runs of `size` positions, as keys: one at every `step` from `start` on, the last ending at `stop`.

    `step` must divide `size`, so that runs overlap in whole steps. N = B runs. From position `fresh` on, the start of a
    step, no windows written before these have a position; None means that this is not known.
    """

    size: int
    step: int
    start: int
    stop: int
    fresh: int | None = None

    def take(self, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Return runs (N, size, H, C); a token of several runs is converted once."""
        tokens = x[:, self.start : self.stop].to(dtype or x.dtype)
        runs = tokens.unfold(1, self.size, self.step)  # (B, N / B, H, C, size)
        return runs.movedim(-1, 2).flatten(0, 1)

    def put(self, total: Tensor, part: Tensor) -> None:
        """Write runs (N, size, H, C) from `fresh` on, each position once, and add what else there is."""
        if self.fresh is None:
            raise TypeError("runs that overlap are keys of a part, never its queries")
        written = self.stop
        for start, blocks, steps in self._steps(total, part):
            n_new = (written - start) // self.step if start >= self.fresh else 0
            if n_new:
                blocks[:, :n_new].copy_(steps[:, :n_new])
            if n_new < blocks.shape[1]:
                blocks[:, n_new:].add_(steps[:, n_new:])
            written = start

    def give(self, total: Tensor, part: Tensor) -> None:
        """Add runs (N, size, H, C)."""
        for _, blocks, steps in self._steps(total, part):
            blocks.add_(steps)

    def _steps(self, total: Tensor, part: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield, for the last step of all runs and then those before, its first position, and its tokens in both."""
        runs = torch.unflatten(part, 0, (len(total), -1))
        for first in reversed(range(0, self.size, self.step)):
            start, stop = self.start + first, self.stop - self.size + first + self.step
            blocks = torch.unflatten(total[:, start:stop], 1, (-1, self.step))
            yield start, blocks, runs[:, :, first : first + self.step]


@dataclass(frozen=True)
class Residues(Tiling):
    """Every `stride`-th position, which must divide them: N = B stride, a row for each residue."""

    stride: int

    def tiles(self, x: Tensor) -> Tensor:
        """Return residue classes (B, stride, T / stride, H, C)."""
        B, _, H, C = x.shape
        return x.view(B, -1, self.stride, H, C).transpose(1, 2)


@dataclass(frozen=True)
class Everything(Tiling):
    """All positions: N = B."""

    def tiles(self, x: Tensor) -> Tensor:
        """Return `x` as (B, 1, T, H, C)."""
        return x.unsqueeze(1)


@dataclass(frozen=True)
class Gathered:
    """Chosen positions `index` (B, P), int64, as keys; a position may be chosen twice. N = B."""

    index: Tensor

    def take(self, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Return chosen tokens (B, P, H, C)."""
        return x.gather(1, self._spread(x)).to(dtype or x.dtype)

    def put(self, total: Tensor, part: Tensor) -> None:
        """Refuse: what is written to one position twice has no meaning."""
        raise TypeError("chosen positions are keys of a part, never its queries")

    def give(self, total: Tensor, part: Tensor) -> None:
        """Add chosen tokens (B, P, H, C)."""
        total.scatter_add_(1, self._spread(total), part.to(total.dtype))

    def _spread(self, x: Tensor) -> Tensor:
        return self.index[:, :, None, None].expand(-1, -1, *x.shape[2:])
