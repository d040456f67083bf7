"""What a layer costs by formula: the products of its parts, the projections, and what backward needs.

Pairs per head follow from the parts' layouts alone, and so count what a block computes and then masks; without that
the strided sets have n w and n^2 / (2 l) pairs in a causal model, the fixed ones n l / 2 and c n^2 / (2 l).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from attention_arena.layers import Part
from attention_arena.variant import LayerCost, ModelShape
from attention_arena_variants.sparse.attention import group_heads
from attention_arena_variants.sparse.fixed import Fixed
from attention_arena_variants.sparse.parts import lay_out
from attention_arena_variants.sparse.pattern import Pattern
from attention_arena_variants.sparse.strided import Strided

FLOAT = 4
"""Bytes."""


def layer_cost(patterns: Sequence[Pattern], shape: ModelShape, d_query: int, length: int) -> LayerCost:
    """Return the cost of a layer whose heads have `patterns`, for a sequence of `length` tokens."""
    D, E, H = shape.d_model, shape.d_head, shape.n_heads
    flops = 2.0 * length * D * (2 * H * d_query + 2 * D)
    floats = length * D  # what the projections read
    groups = group_heads(patterns)
    for pattern, members in groups.items():
        parts, padded = lay_out(pattern, torch.empty(1, length, len(members), E, device="meta"), None)
        flops += 4.0 * E * len(members) * sum(pairs(part, padded) for part in parts)
        floats += padded * len(members) * (4 * E + 1)  # query, key, value, heads and their log mass
        masks = {id(part.allowed): part.allowed for part in parts if part.allowed is not None}  # parts share them
        floats += sum(mask.numel() for mask in masks.values())
    if len(groups) > 1:
        floats += length * D  # heads of all groups, side by side
    return LayerCost(flops, FLOAT * floats)


def pairs(part: Part, length: int) -> int:
    """Return the pairs of one head that a part computes in a sequence of `length` tokens."""
    tokens = torch.empty(1, length, 1, 1, device="meta")
    n_rows, n_queries = part.queries.take(tokens).shape[:2]
    return n_rows * n_queries * part.keys.take(tokens).shape[1]


def paper_flops(patterns: Sequence[Pattern], shape: ModelShape, d_query: int, length: int) -> float:
    """Return the FLOPs of a layer whose heads have `patterns` by the paper's count: their pairs, and projections."""
    D, E, H = shape.d_model, shape.d_head, shape.n_heads
    pairs = sum(paper_pairs(pattern, length) for pattern in patterns)
    return 2.0 * length * D * (2 * H * d_query + 2 * D) + 2.0 * (d_query + E) * pairs


def paper_pairs(pattern: Pattern, length: int) -> float:
    """Return the pairs of one head by the paper's sets, counted one by one; those in both sets count twice.

    Strided: n w near and n^2 / (2 l) far. Fixed: n (l + 1) / 2 near, c n^2 / (2 l) far, and n for the query itself.
    Not causal, each set has as many keys after the query.
    """
    n, stride = length, pattern.stride
    near: float
    far: float
    if isinstance(pattern, Strided):
        near, far, itself = n * min(pattern.window, n), n**2 / (2 * stride), 0
    elif isinstance(pattern, Fixed):
        near, far = n * (stride + 1) / 2, (pattern.right - pattern.left) * n**2 / (2 * stride)
        itself = n if pattern.self_in_far else 0
    else:
        raise TypeError(f"{type(pattern).__name__} has no sets in the paper")
    directions = 1 if pattern.causal else 2
    return directions * (near * pattern.near + far * pattern.far) + itself * pattern.far
