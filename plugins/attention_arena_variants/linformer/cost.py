"""What one layer of Linformer costs by formula.

Letters beside the usual ones: R slots, W windows of the input.
"""

from __future__ import annotations

import math

from attention_arena.variant import LayerCost, ModelShape
from attention_arena_variants.linformer.projections import (
    ConvolutionProjection,
    LinearProjection,
    MaxProjection,
    PoolingProjection,
    Projection,
)

FLOAT = 4
INDEX = 8


def count_cost(
    projections: tuple[Projection, Projection], shape: ModelShape, length: int, attention_dropout: float
) -> LayerCost:
    """Return the cost of a layer with these projections of keys and values on `length` tokens, none of them padding."""
    D, H, T, R = shape.d_model, shape.n_heads, length, projections[0].n_slots
    first = projections[0].commutes and shape.positions != "rotary" and T > R
    kinds = projections[:1] if first and projections[0] is projections[1] else projections
    rows = 2 * T * D**2 + (2 * R * D**2 if first else 2 * T * D**2)  # query and output; key and value
    matrices = sum(R * T * D for kind in kinds if isinstance(kind, LinearProjection))
    flops = 2 * (rows + matrices + 2 * T * R * D)
    kept = FLOAT * (2 * T * D + 2 * R * D)  # the input and the merged heads; slots of keys and values
    kept += FLOAT * (T * D + len(kinds) * R * D if first else 3 * T * D)  # query; and shortened input, or key and value
    if shape.positions == "rotary":
        kept += FLOAT * 2 * T * D
    if not first:
        kept += sum(_kept_by(kind, T, D) for kind in kinds)
    return LayerCost(flops, kept + _kept_by_softmax(T, R, D, H, attention_dropout))


def _kept_by(kind: Projection, T: int, D: int) -> int:
    """Return the bytes that a projection after the projection of keys or values keeps beside its rows."""
    if not isinstance(kind, PoolingProjection):
        return 0
    windows = math.ceil(T / kind.window)
    if isinstance(kind, MaxProjection):
        return INDEX * windows * D
    if isinstance(kind, ConvolutionProjection) and T % kind.window:
        return FLOAT * windows * kind.window * D
    return 0


def _kept_by_softmax(T: int, R: int, D: int, H: int, attention_dropout: float) -> int:
    """Return the bytes of the log mass of each query, or with dropout those of the plain formula."""
    if not attention_dropout:
        return FLOAT * H * T
    return 3 * FLOAT * H * T * R
