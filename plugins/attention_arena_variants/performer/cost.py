"""What one layer of Performer costs by formula: linear in tokens, whatever the form.

Letters beside the usual ones: R rows of weights, M features, C tokens of a causal chunk.
"""

from __future__ import annotations

import math

from attention_arena.variant import LayerCost, ModelShape
from attention_arena_variants.performer.chunks import count_chunks

FLOAT = 4
"""Bytes."""


def layer_cost(shape: ModelShape, length: int, R: int, M: int, *, as_mixture: bool, chunk: int) -> LayerCost:
    """Return the cost of a layer of `R` rows of weights and `M` features on `length` tokens, none of them padding.

    `as_mixture`: bidirectional, in the form of two softmaxes; else sums have one column more, of the denominator.
    """
    D, E, H, T = shape.d_model, shape.d_head, shape.n_heads, length
    columns = E if as_mixture else E + 1
    products = 4 * T * D**2 + H * T * (2 * R * E + 2 * M * columns)  # projections; features and what they are summed to
    floats = 5 * T * D  # input, query, key and value, heads
    if shape.positions == "rotary":
        floats += 2 * T * (D + E)  # rotated query and key, sines and cosines
    floats += H * T * (1 if as_mixture else 2)  # masses of queries, or inverse denominators and scales of keys
    n_totals = 1
    if shape.causal:
        C = min(chunk, T)
        n_totals = math.ceil(T / C)
        products += H * T * C * (M + columns)  # pairs inside chunks
        products += H * n_totals * min(n_totals, count_chunks(H * M, C)) * M * columns  # totals of those before
    floats += H * n_totals * M * (E + 1)
    return LayerCost(2.0 * products, FLOAT * floats)


def paper_flops(shape: ModelShape, length: int, R: int, M: int, *, chunk: int) -> float:
    """Return the FLOPs of a layer by the paper's count: features of query and key, two sums, and projections.

    Causal sums are made in chunks of C tokens, n C (M + E) / 2 multiply-adds a head more.
    """
    D, E, H, T = shape.d_model, shape.d_head, shape.n_heads, length
    products = 4 * T * D**2 + 2 * T * R * D + 2 * T * M * D
    inside = H * T * chunk * (M + E) / 2 if shape.causal else 0.0
    return 2.0 * (products + inside)
