"""What one layer of Linformer costs by formula.

Letters beside the usual ones: R slots (k in the paper).
"""

from __future__ import annotations

import math

from attention_arena.variant import LayerCost, ModelShape
from attention_arena_variants.linformer.projections import (
    ConvolutionProjection,
    LinearProjection,
    MaxProjection,
    Projection,
)

FLOAT, INDEX = 4, 8
"""Bytes of a number in float32, and of a position."""


def count_cost(
    projections: tuple[Projection, Projection], shape: ModelShape, length: int, attention_dropout: float
) -> LayerCost:
    """Return the cost of a layer with these projections of keys and values on `length` tokens, none of them padding."""
    D, T, R = shape.d_model, length, projections[0].n_slots
    shortened_first = projections[0].commutes and shape.positions != "rotary" and T > R
    shared = shortened_first and projections[0] is projections[1]
    kinds = projections[:1] if shared else projections
    tokens = 2 * T * D**2 + 2 * (R if shortened_first else T) * D**2  # query and output; key and value
    matrices = sum(R * T * D for kind in kinds if isinstance(kind, LinearProjection))
    kept = FLOAT * (2 * T * D + 2 * R * D)  # input and heads; slots of keys and values
    if shortened_first:
        kept += FLOAT * (T * D + len(kinds) * R * D)  # query and shortened input
    else:
        kept += _kept_before_slots(projections[0], shape, T)
    kept += _kept_by_softmax(shape, T, R, attention_dropout)
    return LayerCost(2 * (tokens + matrices + 2 * T * R * D), kept)


def _kept_before_slots(kind: Projection, shape: ModelShape, T: int) -> int:
    """Return the bytes that are kept of the query, key and value of every token, and by their projections."""
    D, E = shape.d_model, shape.d_head
    keeps_rows, kept = isinstance(kind, LinearProjection), 0
    if isinstance(kind, MaxProjection):
        kept = INDEX * 2 * math.ceil(T / kind.window) * D
    elif isinstance(kind, ConvolutionProjection):
        keeps_rows = T % kind.window == 0
        kept = 0 if keeps_rows else FLOAT * 2 * math.ceil(T / kind.window) * kind.window * D
    # Query, key and value are views of one tensor, which is kept if any of them is.
    if shape.positions != "rotary":
        return kept + FLOAT * 3 * T * D
    # Rotation makes a query and a key of its own and keeps its sines and cosines; the heads then take another copy.
    return kept + FLOAT * (2 * T * D + 2 * T * E + (4 * T * D if keeps_rows else 0))


def _kept_by_softmax(shape: ModelShape, T: int, R: int, attention_dropout: float) -> int:
    """Return the bytes of the log mass of each query, or with dropout of three matrices of weights."""
    return FLOAT * shape.n_heads * T * (3 * R if attention_dropout else 1)


def paper_flops(rank: float, shape: ModelShape, length: int) -> float:
    """Return the FLOPs of a layer of `rank` slots by the paper's count: n R pairs, E and F, and projections."""
    n, d = length, shape.d_model
    return 8.0 * n * d**2 + 8.0 * n * rank * d
