"""The order of work: pieces of the sequence, and cells of a piece, each of them one product with the keys it reaches.

A cell is several blocks of queries in a row for one head, or one block for several heads. Runs of keys of neighbouring
blocks overlap, so what the blocks of one head read and add to stays in cache; the first and the last blocks of a
sequence reach fewer keys than others, and go with those of the other heads. Two triangles at the corners of a run lie
outside the band; nothing else in it is in vain.

Letters beside the usual ones: N layout rows (batch, times the residues of a dilation); R = N H rows of products, R' of
them in a cell; L queries and K keys of a piece; P queries and Q keys of a block; J blocks of a cell; G pinned tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from attention_arena.layers import processor_of
from attention_arena_variants.longformer.layout import Band, Pinned, split

SCORES_AT_ONCE, SCORES_ON_ACCELERATORS = 2**20, 2**26
"""Scores of one cell: fewer need more calls; more are out of reach of a CPU's caches before they are read again."""
BLOCK, BLOCK_ON_ACCELERATORS = 64, 256
"""Queries of a block, or more where heads are few. Small ones make small products, large ones pairs out of the band."""
PIECE, PIECE_ON_ACCELERATORS = 2**19, 2**40
"""Numbers that the queries of a piece hold, about: memory is used again, while few keys are copied twice."""
CORNERS_KEPT = 16
"""Sizes and types of blocks whose masks are remembered; a short sequence takes about as long as making them."""


def choose_block(device: str, band: Band, H: int) -> int:
    """Return how many queries make a block: more while its scores are few, and few of them outside the band."""
    if device != "cpu":
        return BLOCK_ON_ACCELERATORS
    block = BLOCK
    while 8 * block <= band.width and 2 * block * (band.width + 2 * block) * H <= SCORES_AT_ONCE // 4:
        block *= 2
    return block


def is_long(T: int, D: int) -> bool:
    """Return whether a row of T tokens, D numbers each, is read in place on a CPU; shorter ones are copied faster."""
    return 2 * T * D > PIECE


class Piece(NamedTuple):
    """Some layout rows, a run of their queries, and the run of keys that these reach."""

    rows: slice
    queries: slice
    keys: slice


class Cell(NamedTuple):
    """Some rows of products, their queries and keys, counted inside the piece: one row, or one block."""

    rows: slice
    queries: slice
    keys: slice
    n_blocks: int
    """Blocks that the queries are; each reaches as many keys, from as many further on as it has queries."""

    @property
    def block(self) -> int:
        """Queries of a block (P)."""
        return _length(self.queries) // self.n_blocks

    @property
    def reach(self) -> int:
        """Keys of a block (Q)."""
        return _length(self.keys) - (self.n_blocks - 1) * self.block

    def of_queries(self, x: Tensor) -> Tensor:
        """Return `x` (R, L, ...) at the queries of each block, (J, P, ...), a view."""
        return self.windows(x[self.rows, self.queries], self.block)

    def of_keys(self, x: Tensor) -> Tensor:
        """Return `x` (R, K, ...) at the keys of each block, (J, Q, ...), a view: neighbours overlap."""
        return self.windows(x[self.rows, self.keys], self.reach)

    def windows(self, x: Tensor, size: int) -> Tensor:
        """Return the tokens of each block, (J, size, C), of `x` (R', T, C), which holds the cell's: a view."""
        return x if self.n_blocks == 1 else x[0].unfold(0, size, self.block).mT

    def of_pinned(self, x: Tensor) -> Tensor:
        """Return `x` (R, G, E), which all blocks share, for each of them, (J, G, E), a view."""
        return x[self.rows, None].expand(-1, self.n_blocks, -1, -1).flatten(0, 1)

    def join(self, x: Tensor) -> Tensor:
        """Return `x` (J, P, ...) with the blocks of a row behind each other, (R', L', ...), a view."""
        return torch.unflatten(x, 0, (-1, self.n_blocks)).flatten(1, 2)


def _length(run: slice) -> int:
    length: int = run.stop - run.start
    return length


@lru_cache(CORNERS_KEPT)
@torch.inference_mode(False)
def corners(block: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return what is added to scores (block, block) below the diagonal, and above it."""
    outside = torch.full((block, block), -torch.inf, dtype=dtype, device=device)
    return outside.tril(-1), outside.triu(1)


class Walk:
    """The pieces of one call, and how their queries see keys: the same forward and backward."""

    def __init__(
        self,
        projected: Tensor,
        band: Band,
        valid: Tensor | None,
        pinned: Pinned | None,
        dropout: float,
        seed: int,
    ) -> None:
        self.projected, self.band, self.pinned, self.dropout = projected, band, pinned, dropout
        self.T, E = projected.shape[1], projected.shape[4]
        self.device, self.scale = projected.device, E**-0.5
        self.on_cpu = processor_of(self.device) == "cpu"
        # CPUs have no fast products of half precision, accelerators have no fast ones of float32.
        self.work = torch.promote_types(projected.dtype, torch.float32) if self.on_cpu else projected.dtype
        self.block = min(choose_block(processor_of(self.device), band, projected.shape[3]), self.T)
        self.n_pinned = 0 if pinned is None else pinned.tokens.shape[1]
        self.hidden = None if valid is None else ~valid
        if pinned is not None:
            self.hidden = pinned.marked if self.hidden is None else self.hidden | pinned.marked
        # Compilers warn of a memory that they do not use.
        alike = corners.__wrapped__ if torch.compiler.is_compiling() else corners
        self.too_early, self.too_late = alike(self.block, self.work, self.device)
        self.generator = torch.Generator(self.device).manual_seed(seed) if dropout else None
        self.n_scores = self.block * (self.n_pinned + min(self.T, band.width + self.block))  # of a block, at most
        self.at_once = max(1, (SCORES_AT_ONCE if self.on_cpu else SCORES_ON_ACCELERATORS) // self.n_scores)

    def pieces(self) -> Iterator[Piece]:
        """Yield the pieces: several layout rows where they are short, parts of one that is long and must be copied."""
        N, T, _, H, E = self.projected.shape
        n_tokens = (PIECE if self.on_cpu else PIECE_ON_ACCELERATORS) // (H * E)
        n_rows = max(1, n_tokens // T)
        if n_rows == 1 and self.projected.stride(1) == 1 and self.projected.dtype == self.work:
            n_tokens = T  # The products read the heads themselves.
        length = -(-max(self.band.width, n_tokens) // self.block) * self.block
        for rows in split(N, n_rows):
            for queries in split(T, length):
                yield Piece(rows, queries, self.band.keys_of(queries, T))

    def cells(self, piece: Piece) -> Iterator[Cell]:
        """Yield the cells of a piece, in which every query of every row is in one."""
        R = _length(piece.rows) * self.projected.shape[3]
        whole = self._whole_blocks(piece)
        if _length(whole) < min(R, self.at_once) * self.block:
            # Blocks of many rows make the larger cells.
            whole = slice(piece.queries.stop, piece.queries.stop)
        yield from self._across_rows(piece, R, slice(piece.queries.start, whole.start))
        for row in range(R):
            for queries in split(_length(whole), self.at_once * self.block, whole.start):
                yield self._cell(piece, slice(row, row + 1), queries, _length(queries) // self.block)
        yield from self._across_rows(piece, R, slice(whole.stop, piece.queries.stop))

    def _across_rows(self, piece: Piece, R: int, queries: slice) -> Iterator[Cell]:
        for block in split(_length(queries), self.block, queries.start):
            for rows in split(R, self.at_once):
                yield self._cell(piece, rows, block, 1)

    def _whole_blocks(self, piece: Piece) -> slice:
        """Return the queries of a piece that make whole blocks, and reach as many keys as the band is wide."""
        start, stop = piece.queries.start, min(piece.queries.stop, self.T - self.band.after)
        start += -(-max(0, self.band.before - start) // self.block) * self.block
        return slice(start, start + max(0, stop - start) // self.block * self.block)

    def _cell(self, piece: Piece, rows: slice, queries: slice, n_blocks: int) -> Cell:
        """Return a cell, given its queries in the whole sequence."""
        keys, q, k = self.band.keys_of(queries, self.T), piece.queries.start, piece.keys.start
        return Cell(rows, slice(queries.start - q, queries.stop - q), slice(keys.start - k, keys.stop - k), n_blocks)

    def draw_kept(self, weights: Tensor) -> Tensor | None:
        """Return what dropout multiplies `weights` with; None without dropout."""
        if self.generator is None:
            return None
        kept = torch.empty_like(weights).bernoulli_(1 - self.dropout, generator=self.generator)
        return kept.div_(1 - self.dropout)
