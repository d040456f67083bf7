"""What one layer costs by formula (batch 1, float32)."""

from __future__ import annotations

from collections.abc import Sequence

from attention_arena.variant import LayerCost, ModelShape
from attention_arena_variants.longformer.layout import Band, split
from attention_arena_variants.longformer.pattern import Pattern
from attention_arena_variants.longformer.walk import choose_block

BYTES = 4


def layer_cost(
    shape: ModelShape, patterns: Sequence[Pattern], length: int, n_landmarks: int, global_projections: bool
) -> LayerCost:
    """Return the mean cost of the layers; landmarks are those of the options, since a task's are not known here.

    FLOPs: projections 8 n d^2; scores and values 4 E for each computed pair of a head, 4 n d for each landmark as key.
    A landmark's own row takes 4 n d, and projections of its own 4 n d^2 for keys and values, 2 d^2 for its query. Kept
    for backward are input, query, key, value and heads: 5 n d floats; for landmarks also the keys and values they see.
    """
    n, d, E = length, shape.d_model, shape.d_head
    n_global = min(n_landmarks, n)
    pairs = sum(_pairs(pattern, n) for pattern in patterns) / len(patterns)
    flops = 8 * n * d * d + 4 * E * pairs + 8 * n_global * n * d
    kept: float = 5 * n * d
    if n_global:
        kept += 3 * n_global * d
        if shape.causal:
            kept += n_global * n
        if global_projections:
            flops += 4 * n * d * d + 2 * n_global * d * d
            kept += 2 * n * d
        else:
            kept += 3 * n * d * sum(_copies(pattern, n) for pattern in patterns) / len(patterns)
    return LayerCost(float(flops), float(BYTES * kept))


def _copies(pattern: Pattern, n: int) -> bool:
    """Whether the blocks work on a copy of the projected heads, which the landmarks' rows keep as well."""
    return len(set(pattern.dilations)) > 1 or n % pattern.dilations[0] != 0


def _pairs(pattern: Pattern, n: int) -> int:
    """Return the scores that the blocked form computes over all heads: whole blocks times the keys they reach."""
    total = 0
    for dilation, heads in pattern.heads_by_dilation().items():
        total += len(heads) * dilation * _band_pairs(pattern.band, -(-n // dilation), len(heads))
    return total


def _band_pairs(band: Band, T: int, H: int) -> int:
    reached = ((queries, band.keys_of(queries, T)) for queries in split(T, min(choose_block("cpu", band, H), T)))
    return sum((queries.stop - queries.start) * (keys.stop - keys.start) for queries, keys in reached)


def paper_flops(
    shape: ModelShape, patterns: Sequence[Pattern], length: int, n_landmarks: int, global_projections: bool
) -> float:
    """Return the FLOPs of a layer by the paper's count, the mean over layers.

    A head has n (w + 1) pairs in its window and 2 n g with g landmarks, whose projections are 4 n d^2 and 2 g d^2.
    """
    n, d, g = length, shape.d_model, min(n_landmarks, length)
    keys = sum(min(pattern.window, n) + 1 for pattern in patterns) / len(patterns)
    own = 4.0 * n * d**2 + 2.0 * g * d**2 if g and global_projections else 0.0
    return 8.0 * n * d**2 + 4.0 * d * n * (keys + 2 * g) + own
