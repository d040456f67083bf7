"""The strided pattern (Child et al. 2019, section 4.3): the tokens just before, and every l-th one before those.

It suits data that repeats with the stride, such as the rows of an image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from attention_arena.layers import Blocks, Part
from attention_arena.layers.union import Layout
from attention_arena_variants.sparse.layouts import Classes
from attention_arena_variants.sparse.pattern import Frame, Pattern

SMALLEST_BLOCK, LARGEST_BLOCK = 16, 256
"""Tokens in a block of the near set: below, products are too small to be fast; above, more is masked than gained."""
ROWS_AT_ONCE = 128
"""Queries of a residue class whose products with later keys of the same group are computed, and masked."""


@dataclass(frozen=True)
class Strided(Pattern):
    """Near: `window` keys, the query's own included, in each direction; far: every `stride`-th key from the query on.

    The paper prints a window of stride + 1, its released code uses stride.
    """

    window: int

    def allows(self, query: Tensor, key: Tensor) -> Tensor:
        """Return which pairs count, bool, for positions that broadcast."""
        distance = query - key
        allowed = torch.zeros_like(distance, dtype=torch.bool)
        if self.near:
            allowed = allowed | (distance.abs() < self.window)
        if self.far:
            allowed = allowed | (distance % self.stride == 0)
        return allowed & (distance >= 0) if self.causal else allowed

    def recalls(self, position: int, key: Tensor) -> Tensor:
        """Return which of the earlier positions `key` (S,) are still in reach: all of them, if some far query is."""
        return torch.ones_like(key, dtype=torch.bool) if self.far else position - key < self.window

    def narrowed(self, length: int) -> Pattern:
        """Return the near set alone where the far one has only the query, which the near one has too."""
        return replace(self, far=False) if self.near and length <= self.stride else self

    def unit(self, length: int) -> int:
        """Return what the length of sequences must be a multiple of."""
        if not self.near:
            return self.stride
        return max(self.stride, self._block(length)) if self.far else self._block(length)

    def parts(self, frame: Frame) -> list[Part]:
        """Return blocks with those around them for the near set, and residue classes for the far one."""
        near = self._near_parts(frame) if self.near else []
        return near + (self._far_parts(frame) if self.far else [])

    def _block(self, length: int) -> int:
        """Return the tokens in a block of the near set: about the window, and with both sets fitting the stride."""
        aim = min(max(self.window - 1, SMALLEST_BLOCK), LARGEST_BLOCK)
        if not self.far:
            return min(-(-aim // SMALLEST_BLOCK) * SMALLEST_BLOCK, length)
        if aim >= self.stride:
            return self.stride * (aim // self.stride)
        return next(size for size in range(aim, self.stride + 1) if self.stride % size == 0)

    def _near_parts(self, frame: Frame) -> list[Part]:
        """Return a part for each offset of blocks within the window, and for each span of queries.

        Pairs that are in the far set too are left to it: a mask of one block suffices for that.
        """
        size = self._block(frame.length)
        within = frame.positions(size)
        furthest = -(-(self.window - 1) // size)
        parts = []
        for offset in range(0 if self.causal else -furthest, furthest + 1):
            shift = offset * size
            allowed = None
            if self.far or not self._allows_all_near(shift - size + 1, shift + size - 1):
                distance = shift + within[:, None] - within
                allowed = (distance < self.window) & (distance >= (0 if self.causal else 1 - self.window))
                if self.far:
                    allowed = allowed & (distance % self.stride != 0)
            parts += [frame.part(*layouts, allowed) for layouts in shifted_blocks(frame, size, shift)]
        return parts

    def _allows_all_near(self, smallest: int, largest: int) -> bool:
        """Whether all distances from `smallest` to `largest` are in the window."""
        return largest < self.window and smallest >= (0 if self.causal else 1 - self.window)

    def _far_parts(self, frame: Frame) -> list[Part]:
        """Return full attention inside residue classes, some of them at a time; causal, in groups of their tokens."""
        n_rows = frame.length // self.stride
        n_columns = max(1, frame.span // n_rows)
        group = ROWS_AT_ONCE if self.causal else n_rows
        parts = []
        for left in range(0, self.stride, n_columns):
            columns = (left, min(left + n_columns, self.stride))
            for start in range(0, n_rows, group):
                stop = min(start + group, n_rows)
                rows = Classes(self.stride, start, stop, *columns)
                up_to = frame.positions(stop - start)
                parts.append(frame.part(rows, rows, up_to[:, None] >= up_to if self.causal else None))
                if start:
                    parts.append(frame.part(rows, Classes(self.stride, 0, start, *columns)))
        return parts


def shifted_blocks(frame: Frame, size: int, shift: int) -> Iterator[tuple[Layout, Layout]]:
    """Yield, span by span, blocks of queries and the blocks of keys `shift` tokens before them, where both exist."""
    for start, stop in frame.spans(size):
        start, stop = max(start, shift), min(stop, frame.length + shift)
        if start < stop:
            yield Blocks(size, start, stop), Blocks(size, start - shift, stop - shift)
