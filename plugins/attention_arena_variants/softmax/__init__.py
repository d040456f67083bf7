"""Catalogue entry of the softmax Transformer (Vaswani et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from attention_arena.hooks import hookimpl
from attention_arena.layers import Stack
from attention_arena.variant import Backbone, Capability, Complexity, LayerCost, ModelShape, Options, Variant
from attention_arena_variants.softmax.attention import FusedAttention, NaiveAttention
from attention_arena_variants.softmax.cost import layer_cost, paper_flops


class SoftmaxOptions(Options):
    """Options of softmax attention."""

    implementation: Literal["fused", "naive"] = Field(
        "fused", description="fused never holds the n x n matrix; naive does, as the papers' baselines did"
    )
    attention_dropout: float = Field(0.0, ge=0.0, lt=1.0, description="dropout of attention probabilities")


IMPLEMENTATIONS = {"fused": FusedAttention, "naive": NaiveAttention}


def build(options: SoftmaxOptions, shape: ModelShape) -> Backbone:
    """Return a stack of softmax attention."""
    attention = IMPLEMENTATIONS[options.implementation]
    return Stack(shape, lambda layer: attention(shape, options.attention_dropout))


def cost(options: SoftmaxOptions, shape: ModelShape, length: int) -> LayerCost:
    """Return what one layer costs by formula."""
    dropout = options.attention_dropout > 0
    return layer_cost(shape, length, holds_matrix=options.implementation == "naive", dropout=dropout)


def complexity(options: SoftmaxOptions) -> Complexity:
    """Return what is claimed: the matrix is computed, and held by the naive form alone."""
    return Complexity(time=2.0, memory=2.0 if options.implementation == "naive" else 1.0, formula="n^2 d")


SOFTMAX = Variant(
    name="softmax",
    summary="Full softmax attention: every token weighs every other one.",
    paper="Vaswani et al. 2017, Attention Is All You Need",
    supports=frozenset({Capability.BIDIRECTIONAL, Capability.CAUSAL, Capability.PADDING, Capability.STEPWISE}),
    options=SoftmaxOptions,
    build=build,
    complexity=complexity(SoftmaxOptions()),
    complexity_under=complexity,
    check_options=({}, {"implementation": "naive"}),
    cost=cost,
    paper_flops=lambda options, shape, length: paper_flops(shape, length),
)


@hookimpl
def register_variants() -> Sequence[Variant]:
    """Register the variant."""
    return [SOFTMAX]
