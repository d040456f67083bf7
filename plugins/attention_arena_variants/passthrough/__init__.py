"""Catalogue entry of the reference for cost: a Transformer whose attention passes values through."""

from __future__ import annotations

from collections.abc import Sequence

from attention_arena.hooks import hookimpl
from attention_arena.layers import Stack
from attention_arena.variant import Backbone, Capability, Complexity, LayerCost, ModelShape, Options, Variant
from attention_arena_variants.passthrough.attention import PassThrough

FLOAT = 4
"""Bytes."""


class PassThroughOptions(Options):
    """There are none."""


def build(options: PassThroughOptions, shape: ModelShape) -> Backbone:
    """Return a stack whose attention mixes nothing."""
    return Stack(shape, lambda layer: PassThrough(shape))


def cost(options: PassThroughOptions, shape: ModelShape, length: int) -> LayerCost:
    """Return what one layer costs by formula: four projections, whose inputs backward needs."""
    n, d = length, shape.d_model
    return LayerCost(flops=8.0 * n * d**2, saved_bytes=FLOAT * 2.0 * n * d)


PASSTHROUGH = Variant(
    name="passthrough",
    summary="Attention replaced by passing values through; a reference for cost, not a model.",
    paper="Choromanski et al. 2021, Rethinking Attention with Performers: the line X (OPT) of its figure of run times",
    supports=frozenset({Capability.BIDIRECTIONAL, Capability.CAUSAL, Capability.PADDING, Capability.STEPWISE}),
    options=PassThroughOptions,
    build=build,
    complexity=Complexity(time=1.0, memory=1.0, formula="n d^2"),
    reference=True,
    cost=cost,
    paper_flops=lambda options, shape, length: cost(options, shape, length).flops,
)


@hookimpl
def register_variants() -> Sequence[Variant]:
    """Register the variant."""
    return [PASSTHROUGH]
