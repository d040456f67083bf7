"""Tiles: the parts of queries, keys and distances that meet in one product, as views of whole tensors.

A tile is a block of some heads, rows of the batch and segments. Further letters: h heads, b rows and n segments of a
tile; P queries and Q keys of its block; W distances, w of them in the tile.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from attention_arena.layers import processor_of, slow_half
from attention_arena_variants.transformer_xl.windows import Block, Windows


class TileSize(NamedTuple):
    """Most queries of a block, and most scores of a tile."""

    n_queries: int
    n_scores: int


def tile_size(x: Tensor) -> TileSize:
    """Return the size of the tiles of heads like `x`.

    On a CPU, scores should stay in a core's own cache while they are worked on, and few queries leave little work
    above the diagonal; products in half precision need more of them to be fast.
    """
    if processor_of(x) != "cpu":
        return TileSize(512, 2**26)
    return TileSize(128, 2**18) if work_type(x).itemsize >= 4 else TileSize(256, 2**19)


def work_type(x: Tensor) -> torch.dtype:
    """Return the type in which a tile's products are computed from tensors like `x`.

    Processors without matrix units multiply half precision more slowly than float32; a tile's share is then converted.
    """
    return x.dtype if slow_half(x) is None else torch.float32


@dataclass(frozen=True)
class Tile:
    """Some heads, rows of the batch and segments (`first` of the block's, and those after it) of a block."""

    windows: Windows
    block: Block
    heads: slice
    rows: slice
    first: int
    count: int

    @property
    def n_distances(self) -> int:
        """Distances in the tile (w)."""
        return self.block.n_distances(self.windows.causal)

    def queries(self, x: Tensor) -> Tensor:
        """Return the view (h, b, n, P, C) of `x` (B, T, H, C)."""
        return self._windows_of(x[self.rows, :, self.heads], self.block.query, self.block.n_queries)

    def keys(self, x: Tensor) -> Tensor:
        """Return the view (h, b, n, Q, C) of `x` (B, S, H, C)."""
        return self._windows_of(x[self.rows, :, self.heads], self.block.key, self.block.n_keys)

    def distances(self, x: Tensor) -> Tensor:
        """Return the view (h, C, w) of `x` (H, C, W)."""
        first = self.windows.furthest - (self.block.lag + self.block.n_queries - 1)
        return x[self.heads, :, first : first + self.n_distances]

    def valid(self, valid: Tensor) -> Tensor:
        """Return which keys are valid, (1, b n, 1, Q), of `valid` (B, S)."""
        some = self._windows_of(valid[self.rows, :, None, None], self.block.key, self.block.n_keys)
        return some.reshape(1, -1, 1, self.block.n_keys)

    def put(self, total: Tensor, part: Tensor) -> None:
        """Write `part` (h b n, P, C), or the same numbers in another shape, over the queries of `total`."""
        into = self.queries(total)
        into.copy_(part.view(into.shape))

    def add_to_keys(self, present: Tensor, past: Tensor | None, left: Tensor, right: Tensor) -> None:
        """Add products of `left` (h b n, Q, P) and `right` (h b n, P, C) to the keys of `present` (B, S, H, C).

        Those left of the segment go to `past` instead, or nowhere if there is none.
        """
        n_past, n_keys = self.block.n_past, self.block.n_keys
        destinations = [(present, slice(n_past, n_keys)), (past, slice(0, n_past))]
        # One window's product can be summed where it belongs; those of several meet in the same keys.
        is_sum_in_place = self.n_windows == 1 and present.dtype == left.dtype
        product = None if is_sum_in_place else torch.bmm(left, right)
        for total, keys in destinations:
            if total is None:
                continue
            some, start = total[self.rows, :, self.heads], self._start(self.block.key + keys.start)
            if product is None:
                of_keys = some[0, start : start + keys.stop - keys.start].transpose(0, 1)
                add_product(of_keys, left[:, keys], right)
            else:
                part = torch.unflatten(product[:, keys], 0, (some.shape[2], len(some), -1))
                add_windows(some, part, start, self.windows.segment_length)

    @property
    def n_windows(self) -> int:
        """Rows of the batch times segments."""
        n_rows: int = self.rows.stop - self.rows.start
        return n_rows * self.count

    def _start(self, place: int) -> int:
        """Return where in the tile's first segment a place of the block's first is found."""
        return place + self.first * self.windows.segment_length

    def _windows_of(self, x: Tensor, place: int, size: int) -> Tensor:
        return windows_of(x, self._start(place), size, self.windows.segment_length, self.count)


def tiles(windows: Windows, query: Tensor) -> Iterator[Tile]:
    """Yield tiles that together cover all that the heads of `query` (B, T, H, E) see, each query once."""
    B, _, H, _ = query.shape
    size = tile_size(query)
    for block in windows.blocks(size.n_queries):
        matrices = max(1, size.n_scores // (block.n_queries * block.n_keys))
        h = min(H, matrices)
        n = min(block.n_segments, max(1, matrices // h))
        b = min(B, max(1, matrices // (h * n)))
        for head, row, first in itertools.product(range(0, H, h), range(0, B, b), range(0, block.n_segments, n)):
            heads, rows = slice(head, min(head + h, H)), slice(row, min(row + b, B))
            yield Tile(windows, block, heads, rows, first, min(n, block.n_segments - first))


def add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add the products of `left` (N, K, P) and `right` (N, P, C) to `total` (N, K, C)."""
    if total.dtype == left.dtype:
        torch.baddbmm(total, left, right, out=total)
    else:
        total.add_(torch.bmm(left, right))


def windows_of(x: Tensor, start: int, size: int, stride: int, count: int) -> Tensor:
    """Return the view (H, B, n, size, C) of `count` n windows of `x` (B, S, H, C), `stride` apart, from `start` on."""
    spanned = x[:, start : start + (count - 1) * stride + size]
    return spanned.unfold(1, size, stride).permute(2, 0, 1, 4, 3)


def add_windows(total: Tensor, part: Tensor, start: int, stride: int) -> None:
    """Add `part` (H, B, n, size, C) to the windows of `total` (B, S, H, C) that `windows_of` returns."""
    n, size = part.shape[2:4]
    # A sum into a view must meet no place twice, so windows that overlap take turns.
    apart = -(-size // stride)
    for first in range(min(apart, n)):
        some = part[:, :, first::apart]
        windows_of(total, start + first * stride, size, apart * stride, some.shape[2]).add_(some)
