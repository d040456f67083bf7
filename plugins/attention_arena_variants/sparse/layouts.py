"""Layouts of the far sets: residue classes for the strided pattern, summary cells for the fixed one.

Letters beside the usual ones: N layout rows; P tokens of a layout row; l the stride; c the summary width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attention_arena.layers import Tiling


@dataclass(frozen=True)
class Classes(Tiling):
    """Positions with equal remainder by `stride`, which must divide the length: one layout row for each remainder.

    Of the table with `stride` columns that the sequence fills row by row: its rows `start` to `stop`, and its columns
    `left` to `right`.
    """

    stride: int
    start: int
    stop: int
    left: int
    right: int

    def tiles(self, x: Tensor) -> Tensor:
        """Return classes (B, right - left, stop - start, H, C)."""
        B, _, H, C = x.shape
        table = x.view(B, -1, self.stride, H, C)  # (B, T / l, l, H, C)
        return table[:, self.start : self.stop, self.left : self.right].transpose(1, 2)


@dataclass(frozen=True)
class Cells:
    """The cells `left` to `right` of each block of `stride` tokens, as keys.

    Of positions `start` to `stop`, in layout rows of `size` tokens: multiples of the stride that divide them.
    """

    stride: int
    left: int
    right: int
    size: int
    start: int
    stop: int

    def take(self, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Return cells (N, size c / l, H, C) of `x` (B, T, H, C)."""
        return self._cells(x).to(dtype or x.dtype).flatten(2, 3).flatten(0, 1)

    def put(self, total: Tensor, part: Tensor) -> None:
        """Refuse: cells are not all that a query's block holds."""
        raise TypeError("summary cells are keys of a part, never its queries")

    def give(self, total: Tensor, part: Tensor) -> None:
        """Add cells (N, size c / l, H, C)."""
        cells = self._cells(total)
        cells.add_(part.reshape(cells.shape))

    def _cells(self, x: Tensor) -> Tensor:
        blocks = torch.unflatten(x[:, self.start : self.stop], 1, (-1, self.size // self.stride, self.stride))
        return blocks[:, :, :, self.left : self.right]  # (B, N / B, size / l, c, H, C)
