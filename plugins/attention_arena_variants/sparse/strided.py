"""The strided pattern (Child et al. 2019, section 4.3): the tokens just before, and every l-th one before those.

It suits data that repeats with the stride, such as the rows of an image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from attention_arena.layers import Blocks, Part, Windows
from attention_arena_variants.sparse.layouts import Classes
from attention_arena_variants.sparse.pattern import Frame, Pattern

SMALLEST_BLOCK, LARGEST_BLOCK = 16, 256
"""Tokens in a block of the near set: below, products are too small to be fast; above, more is masked than gained."""
HALVED_BLOCK = 32
"""Tokens from which on a block beside a far set is half of a causal window: its keys are 3/2 of that, not twice."""
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
        return (self._far_parts(frame) if self.far else []) + (self._near_parts(frame) if self.near else [])

    def _block(self, length: int) -> int:
        """Return the tokens in a block of the near set: about the window, or half; fitting the stride too."""
        aim = self.window - 1
        if self.causal and self.far:
            aim = max(aim // 2, min(aim, HALVED_BLOCK))
        aim = min(max(aim, SMALLEST_BLOCK), LARGEST_BLOCK)
        if not self.far:
            return min(-(-aim // SMALLEST_BLOCK) * SMALLEST_BLOCK, length)
        if aim >= self.stride:
            return self.stride * (aim // self.stride)
        return next(size for size in range(aim, self.stride + 1) if self.stride % size == 0)

    def _near_parts(self, frame: Frame) -> list[Part]:
        """Return blocks with the run of blocks around them that the window reaches, span by span.

        The first and last blocks, whose runs are cut off, are parts of their own. Pairs that are in the far set too are
        left to it: a mask of one block suffices for that.
        """
        size = self._block(frame.length)
        n_blocks = frame.length // size
        before = min(-(-(self.window - 1) // size), n_blocks)
        after = 0 if self.causal else before
        whole = range(before, max(before, n_blocks - after))
        bounds = [(block, block + 1) for block in range(n_blocks) if block not in whole]
        step = max(1, frame.span // size)
        bounds += [(block, min(block + step, whole.stop)) for block in whole[::step]]
        parts = []
        masks: dict[tuple[int, int], Tensor] = {}  # most parts have the same
        fresh = 0
        for first, stop in sorted(bounds):
            lowest, highest = max(0, first - before), min(n_blocks, stop + after)
            run = (highest - lowest - (stop - first) + 1) * size
            keys = Windows(run, size, lowest * size, highest * size, fresh * size)
            fresh = highest
            lag = (first - lowest) * size
            if (lag, run) not in masks:
                masks[lag, run] = self._is_near(lag + frame.positions(size)[:, None] - frame.positions(run))
            blocks = Blocks(size, first * size, stop * size)
            parts.append(frame.part(blocks, keys, masks[lag, run], tiles=not self.far))
        return parts

    def _is_near(self, distance: Tensor) -> Tensor:
        """Return which distances from key to query are in the near set, and not in the far one too."""
        is_near = (distance < self.window) & (distance >= (0 if self.causal else 1 - self.window))
        return is_near & (distance % self.stride != 0) if self.far else is_near

    def _far_parts(self, frame: Frame) -> list[Part]:
        """Return full attention inside residue classes, some of them at a time; causal, in groups of their tokens.

        First all groups with themselves, then with the earlier ones.
        """
        groups = self._far_groups(frame)
        sizes = {group.stop - group.start for group in groups}
        up_to = {
            n: torch.ones(n, n, dtype=torch.bool, device=frame.device).tril() if self.causal else None for n in sizes
        }
        inside = [frame.part(group, group, up_to[group.stop - group.start], tiles=True) for group in groups]
        return inside + [
            frame.part(group, replace(group, start=0, stop=group.start)) for group in groups if group.start
        ]

    def _far_groups(self, frame: Frame) -> list[Classes]:
        n_rows = frame.length // self.stride
        n_columns = max(1, frame.span // n_rows)
        size = ROWS_AT_ONCE if self.causal else n_rows
        return [
            Classes(self.stride, start, min(start + size, n_rows), left, min(left + n_columns, self.stride))
            for left in range(0, self.stride, n_columns)
            for start in range(0, n_rows, size)
        ]
