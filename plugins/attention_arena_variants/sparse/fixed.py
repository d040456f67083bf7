"""The fixed pattern (Child et al. 2019, section 4.3): the tokens of the own block, and the summary cells of all blocks.

The cells are the same for every query, so that a few positions learn to hold what the rest of their block says. It
suits text, where what matters is at no fixed distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attention_arena.layers import Blocks, Part
from attention_arena_variants.sparse.layouts import Cells
from attention_arena_variants.sparse.pattern import Frame, Pattern, inside_blocks

GROUP = 512
"""Queries, about, that attend to the cells before their group without a mask."""


@dataclass(frozen=True)
class Fixed(Pattern):
    """Near: the query's block of `stride` tokens; far: the cells `left` to `right` of every block.

    The last cells, `stride` - c to `stride` with c the summary width, are the ones that reach every token in two
    layers. The first queries of a causal model have no cell before them, so `self_in_far` adds the query's own
    position to the far set; that is ours.
    """

    left: int
    right: int
    self_in_far: bool

    def allows(self, query: Tensor, key: Tensor) -> Tensor:
        """Return which pairs count, bool, for positions that broadcast."""
        allowed = torch.zeros_like(query - key, dtype=torch.bool)
        if self.near:
            allowed = allowed | (query // self.stride == key // self.stride)
        if self.far:
            allowed = allowed | self._is_cell(key)
            if self.self_in_far:
                allowed = allowed | (query == key)
        return allowed & (query >= key) if self.causal else allowed

    def recalls(self, position: int, key: Tensor) -> Tensor:
        """Return which of the earlier positions `key` (S,) are still in reach: cells, and the own block."""
        recalled = torch.zeros_like(key, dtype=torch.bool)
        if self.near:
            recalled = recalled | (key // self.stride == position // self.stride)
        return recalled | self._is_cell(key) if self.far else recalled

    def unit(self, length: int) -> int:
        """Return what the length of sequences must be a multiple of."""
        return min(self.stride, length)

    def parts(self, frame: Frame) -> list[Part]:
        """Return blocks with themselves, whatever the sets are, and blocks with the cells of others."""
        size = min(self.stride, frame.length)
        within = frame.positions(size)
        inside = self.allows(within[:, None], within)
        if not self.far or frame.length <= self.stride:
            return inside_blocks(frame, size, inside)
        if self.causal:
            return inside_blocks(frame, size, inside) + self._earlier_cells(frame)
        others = inside_blocks(frame, size, inside & ~self._is_cell(within)) if self._has_others() else []
        return others + self._all_cells(frame)

    def _is_cell(self, key: Tensor) -> Tensor:
        place = key % self.stride
        return (place >= self.left) & (place < self.right)

    def _has_others(self) -> bool:
        """Whether a query attends to keys of its block that are no cells."""
        return (self.near or self.self_in_far) and self.right - self.left < self.stride

    def _cells(self, size: int, start: int, stop: int) -> Cells:
        return Cells(self.stride, self.left, self.right, size, start, stop)

    def _all_cells(self, frame: Frame) -> list[Part]:
        cells = self._cells(frame.length, 0, frame.length)
        return [frame.part(Blocks(stop - start, start, stop), cells) for start, stop in frame.spans(self.stride)]

    def _earlier_cells(self, frame: Frame) -> list[Part]:
        """Return blocks with the cells of earlier ones: before the query's group without a mask, inside it with one."""
        size = self.stride * max(1, GROUP // self.stride)
        parts = []
        for start in range(size, frame.length, size):
            stop = min(start + size, frame.length)
            parts.append(frame.part(Blocks(stop - start, start, stop), self._cells(start, 0, start)))
        for start, stop in frame.spans(size):
            whole = stop - (stop - start) % size
            parts += self._cells_in_groups(frame, size, start, whole)
            parts += self._cells_in_groups(frame, stop - whole, whole, stop)
        return parts

    def _cells_in_groups(self, frame: Frame, size: int, start: int, stop: int) -> list[Part]:
        """Return, for groups of `size` tokens from `start` to `stop`, their blocks with cells of earlier ones."""
        if size <= self.stride or start == stop:
            return []
        block = frame.positions(size) // self.stride
        block_of_cell = frame.positions(size // self.stride * (self.right - self.left)) // (self.right - self.left)
        cells = self._cells(size, start, stop)
        return [frame.part(Blocks(size, start, stop), cells, block[:, None] > block_of_cell)]
