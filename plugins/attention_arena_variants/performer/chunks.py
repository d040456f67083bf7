"""How the fast forms walk over heads: some sequences of a batch at a time, and some positions of those.

Features are n x m per head, and passes over tensors of that size wait for memory; a piece that stays in the cache does
not. Letters beside the usual ones: N rows (batch times heads) at a time, C tokens of a chunk, M features.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from attention_arena.layers import processor_of

FEATURES_AT_ONCE = {"cpu": 2**19}
"""Features in memory at a time: what fits a CPU's cache; elsewhere a quarter of a gigabyte."""
SHORTEST_PIECE = 256
MOST_CHUNKS = 16
"""Causal chunks at a time: their totals are a product of each with each."""


class Walk(NamedTuple):
    """Pieces that together cover a batch: slices of sequences, each cut into slices of positions."""

    sequences: list[slice]
    positions: list[slice]


def plan_walk(query: Tensor, M: int, chunk: int | None = None) -> Walk:
    """Return the pieces in which to compute `M` features of `query` (B, H, T, E).

    With `chunk` each piece is a whole number of chunks; what remains of the sequence is a piece of its own.
    """
    B, H, T, _ = query.shape
    at_once = FEATURES_AT_ONCE.get(processor_of(query), 2**26)
    if chunk is None:
        n_positions = max(SHORTEST_PIECE, at_once // (B * H * M))
        whole = T
    else:
        # Queries and keys have features at a time.
        at_once //= 2
        n_positions = chunk * count_chunks(B * H * M, chunk, at_once)
        whole = T - T % chunk
    n_sequences = max(1, at_once // (H * M * min(n_positions, T)))
    rest = [slice(whole, T)] if whole < T else []
    return Walk(_cut(B, n_sequences), _cut(whole, n_positions) + rest)


def count_chunks(features_of_token: int, chunk: int, at_once: int = FEATURES_AT_ONCE["cpu"] // 2) -> int:
    """Return how many chunks a causal form computes at a time, on a CPU unless `at_once` says how many features."""
    return min(MOST_CHUNKS, max(1, SHORTEST_PIECE // chunk, at_once // (features_of_token * chunk)))


def _cut(total: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, total)) for start in range(0, total, size)]


def take(x: Tensor, positions: slice, dtype: torch.dtype) -> Tensor:
    """Return tokens (N, C, E) of `x` (B, H, T, E)."""
    return x[:, :, positions].to(dtype).flatten(0, 1)


def put(x: Tensor, positions: slice, piece: Tensor) -> None:
    """Write tokens (N, C, E), or chunks of them (N K, C, E), over those of `x` (B, H, T, E)."""
    part = x[:, :, positions]
    by_chunk = (*part.shape[:2], -1, *piece.shape[1:])
    part.view(by_chunk).copy_(piece.view(by_chunk))


def take_hidden(valid: Tensor | None, H: int, positions: slice) -> Tensor | None:
    """Return where keys (N, C, 1) are not `valid` (B, T), once for each of `H` heads; None if all are."""
    if valid is None:
        return None
    return ~valid[:, None, positions, None].expand(-1, H, -1, -1).flatten(0, 1)


def rows_of(weights: Tensor, heads: Tensor) -> Tensor:
    """Return `weights` (H or 1, M, E) once for each row of `heads` (B, H, ...): (N, M, E)."""
    return weights.expand(*heads.shape[:2], *weights.shape[1:]).flatten(0, 1)


def with_column(x: Tensor, column: Tensor | float) -> Tensor:
    """Return `x` (N, C, E) with one more column (N, C, 1), or one number in it."""
    if not isinstance(column, Tensor):
        column = x.new_full((), column).expand(*x.shape[:-1], 1)
    return torch.cat([x, column], dim=-1)


def empty_heads(like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return uninitialised heads like (B, H, T, E), laid out so that merging the heads copies nothing."""
    B, H, T, E = like.shape
    return like.new_empty(B, T, H, E, dtype=dtype or like.dtype).transpose(1, 2)
