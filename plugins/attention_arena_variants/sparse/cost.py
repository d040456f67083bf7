"""What a layer costs by formula: the products of its parts, the projections, and what backward needs.

Pairs per head follow from the parts' layouts alone, and so count what a block computes and then masks; without that
the strided sets have n w and n^2 / (2 l) pairs in a causal model, the fixed ones n l / 2 and c n^2 / (2 l).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from attention_arena.layers import Part
from attention_arena.variant import LayerCost, ModelShape
from attention_arena_variants.sparse.attention import group_heads, lay_out
from attention_arena_variants.sparse.pattern import Pattern

FLOAT = 4
"""Bytes."""


def layer_cost(patterns: Sequence[Pattern], shape: ModelShape, d_query: int, length: int) -> LayerCost:
    """Return the cost of a layer whose heads have `patterns`, for a sequence of `length` tokens."""
    D, E, H = shape.d_model, shape.d_head, shape.n_heads
    flops = 2.0 * length * D * (2 * H * d_query + 2 * D)
    floats = length * D  # what the projections read
    groups = group_heads(patterns)
    for pattern, members in groups.items():
        simpler = pattern.narrowed(length)
        parts = lay_out(simpler, 1, length, None, torch.device("meta"))
        padded = simpler.padded(length)
        flops += 4.0 * E * len(members) * sum(pairs(part, padded) for part in parts)
        floats += padded * len(members) * (4 * E + 1)  # query, key, value, heads and their log mass
        floats += sum(part.allowed.numel() for part in parts if part.allowed is not None)
    if len(groups) > 1:
        floats += length * D  # heads of all groups, side by side
    return LayerCost(flops, FLOAT * floats)


def pairs(part: Part, length: int) -> int:
    """Return the pairs of one head that a part computes in a sequence of `length` tokens."""
    tokens = torch.empty(1, length, 1, 1, device="meta")
    n_rows, n_queries = part.queries.take(tokens).shape[:2]
    return n_rows * n_queries * part.keys.take(tokens).shape[1]
