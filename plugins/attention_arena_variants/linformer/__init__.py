"""Catalogue entry of Linformer (Wang et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from attention_arena.hooks import hookimpl
from attention_arena.layers import Stack
from attention_arena.variant import Backbone, Capability, Complexity, LayerCost, ModelShape, Options, Variant
from attention_arena_variants.linformer import cost as costs
from attention_arena_variants.linformer.attention import LinformerAttention
from attention_arena_variants.linformer.projections import LEARNED, Sharing, build_projections

Rank = Annotated[int, Field(ge=1)]


class LinformerOptions(Options):
    """Options of Linformer."""

    rank: Rank | tuple[Rank, ...] = Field(
        256, description="slots that keys and values are shortened to (k in the paper), or a list of one for each layer"
    )
    projection: Literal["linear", "mean", "max", "convolution"] = Field(
        "linear",
        description="what shortens: a learned matrix, or a pooling or a learned depthwise convolution whose kernel and "
        "stride are ceil(max_length / rank)",
    )
    sharing: Sharing = Field(
        "headwise",
        description="what shares a learned projection: nothing, the heads of a layer, its keys and values too (E = F), "
        "or all layers too; mean and max have nothing to share",
    )
    attention_dropout: float = Field(0.0, ge=0.0, lt=1.0, description="dropout of attention probabilities")

    @model_validator(mode="after")
    def _layers_can_share(self) -> LinformerOptions:
        shared_by_layers = self.sharing == "layerwise" and self.projection in LEARNED
        if shared_by_layers and isinstance(self.rank, tuple) and len(set(self.rank)) > 1:
            raise ValueError(
                f"sharing: layerwise is one projection for all layers, so they need one rank, got {list(self.rank)};"
                " give one rank, or share inside layers (key_value)"
            )
        return self


def choose_ranks(options: LinformerOptions, shape: ModelShape) -> tuple[int, ...]:
    """Return each layer's rank; raises ValueError for one above `max_length`, or a list that does not fit the depth."""
    ranks = options.rank if isinstance(options.rank, tuple) else (options.rank,) * shape.n_layers
    if len(ranks) != shape.n_layers:
        raise ValueError(
            f"rank must be one number or a list of one for each layer (n_layers is {shape.n_layers}),"
            f" got {len(ranks)}: {list(ranks)}; give one number, or {shape.n_layers}"
        )
    if max(ranks) > shape.max_length:
        raise ValueError(
            f"rank must not exceed max_length ({shape.max_length}), got {max(ranks)};"
            " lower the rank, or give the task longer sequences"
        )
    return ranks


def build(options: LinformerOptions, shape: ModelShape) -> Backbone:
    """Return a stack of Linformer attention; raises ValueError where options and shape do not fit."""
    if shape.causal:
        raise ValueError(
            "linformer has no causal form, because each slot mixes the whole sequence, and no mask hides the future in"
            " it; use another variant for causal tasks"
        )
    ranks = choose_ranks(options, shape)
    projections = build_projections(options.projection, options.sharing, ranks, shape)
    return Stack(shape, lambda layer: LinformerAttention(shape, projections[layer], options.attention_dropout))


def cost(options: LinformerOptions, shape: ModelShape, length: int) -> LayerCost:
    """Return what one layer costs, the mean over layers of different rank."""
    found = []
    for rank in choose_ranks(options, shape):
        (projections,) = build_projections(options.projection, options.sharing, (rank,), shape)
        found.append(costs.count_cost(projections, shape, length, options.attention_dropout))
    return LayerCost(*(sum(values) / len(found) for values in zip(*found, strict=True)))


def paper_flops(options: LinformerOptions, shape: ModelShape, length: int) -> float:
    """Return the FLOPs of one layer by the paper's count, the mean over layers of different rank."""
    ranks = choose_ranks(options, shape)
    return costs.paper_flops(sum(ranks) / len(ranks), shape, length)


LINFORMER = Variant(
    name="linformer",
    summary="Keys and values are projected along the sequence to a fixed number of slots.",
    paper="Wang et al. 2020, Linformer: Self-Attention with Linear Complexity",
    supports=frozenset({Capability.BIDIRECTIONAL, Capability.PADDING}),
    options=LinformerOptions,
    build=build,
    complexity=Complexity(time=1.0, memory=1.0, formula="n k d"),
    lacks={Capability.CAUSAL: "each slot mixes the whole sequence, and no mask hides the future in it"},
    caveats={
        "weights": (
            "a query's weights over slots sum to 1, but the weights of tokens in a slot need not; a short input shares"
            " its weight with slots that hold little or nothing of it"
        ),
    },
    check_options=(
        {"rank": 3},
        {"rank": 5, "sharing": "none"},
        {"rank": 5, "sharing": "key_value"},
        {"rank": 4, "sharing": "layerwise"},
        {"rank": 5, "projection": "mean"},
        {"rank": 4, "projection": "max"},
        {"rank": 5, "projection": "convolution"},
        {"rank": 3, "projection": "convolution", "sharing": "none"},
    ),
    cost=cost,
    paper_flops=paper_flops,
)


@hookimpl
def register_variants() -> Sequence[Variant]:
    """Register the variant."""
    return [LINFORMER]
