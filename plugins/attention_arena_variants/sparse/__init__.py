"""Catalogue entry of the Sparse Transformer (Child et al. 2019)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from torch import nn

from attention_arena.hooks import hookimpl
from attention_arena.variant import Backbone, Capability, Complexity, LayerCost, ModelShape, Options, Variant
from attention_arena_variants.sparse import cost as costs
from attention_arena_variants.sparse.attention import SparseAttention
from attention_arena_variants.sparse.fixed import Fixed
from attention_arena_variants.sparse.initialisation import initialise_ends, initialise_stack
from attention_arena_variants.sparse.pattern import Pattern
from attention_arena_variants.sparse.positions import PositionedStack, SummedPositions, attention_grid, data_grid
from attention_arena_variants.sparse.strided import Strided


class SparseOptions(Options):
    """Options of the Sparse Transformer."""

    pattern: Literal["strided", "fixed"] = Field(
        "strided", description="strided for images and audio, fixed for text, as the paper finds"
    )
    combination: Literal["interleave", "merged", "multihead"] = Field(
        "interleave", description="one set of keys per layer in turn, both in one softmax, or one per head in turn"
    )
    stride: int | None = Field(
        None, ge=1, description="l in the paper; null: the power of two nearest to sqrt(max_length)"
    )
    window: int | None = Field(
        None,
        ge=1,
        description="strided: keys of the near set in each direction, its own included; null: stride + 1, as printed",
    )
    summary_width: int | None = Field(
        None,
        ge=1,
        description="fixed: cells in a block's summary (c in the paper); null: 8, at most a quarter of stride",
    )
    distinct_summaries: bool | None = Field(
        None, description="fixed: heads read summaries next to each other, not the same; null: with multihead"
    )
    self_in_summary: bool = Field(
        True, description="fixed: the far set has the query itself, so that none is empty (not in the paper)"
    )
    d_qk: float = Field(
        1.0, gt=0.0, le=1.0, description="width of query and key, as a fraction of a head's (paper: 0.5)"
    )
    positions: Literal["shared", "attention", "data"] = Field(
        "shared", description="the study's own, or learned sums: of block and place in it, or of data coordinates"
    )
    data_sizes: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        None, min_length=1, description="sizes of the data's grid, slowest first: rows, columns, channels"
    )
    initialisation: Literal["shared", "paper"] = Field(
        "shared", description="the study's initial weights, or the paper's: small ones, scaled with depth, logits 0"
    )
    recompute: bool = Field(
        True, description="recompute attention and feed-forward in backward, where residual is plain"
    )
    quick_gelu: bool = Field(False, description="the paper's activation x sigmoid(1.702 x), whatever the shape says")

    @model_validator(mode="after")
    def _options_fit(self) -> SparseOptions:
        if self.pattern == "fixed" and self.window is not None:
            raise ValueError(f"window belongs to pattern strided, got {self.window} with fixed; leave it out")
        for name in ("summary_width", "distinct_summaries"):
            if self.pattern == "strided" and getattr(self, name) is not None:
                raise ValueError(
                    f"{name} belongs to pattern fixed, got {getattr(self, name)} with strided; leave it out"
                )
        if self.positions == "data" and self.data_sizes is None:
            raise ValueError("data_sizes must name the grid's sizes for positions: data, got none; give rows, columns")
        if self.positions != "data" and self.data_sizes is not None:
            raise ValueError(f"data_sizes belongs to positions: data, got it with {self.positions}; leave it out")
        return self


def adapt_shape(options: SparseOptions, shape: ModelShape) -> ModelShape:
    """Return `shape` with the residual stack, positions and activation that the options ask for."""
    changes: dict[str, Any] = {}
    if options.recompute and shape.residual == "plain":
        changes["residual"] = "checkpointed"
    if options.positions != "shared":
        changes["positions"] = "none"
    if options.quick_gelu:
        changes["activation"] = "quick_gelu"
    return shape.model_copy(update=changes)


def build(options: SparseOptions, shape: ModelShape) -> Backbone:
    """Return a stack in `shape`, which has been through `adapt_shape`; raises ValueError where options do not fit."""
    d_query = max(1, round(options.d_qk * shape.d_head))
    if shape.positions == "rotary" and d_query % 2:
        raise ValueError(f"rotary positions need an even width of queries, got {d_query} from d_qk {options.d_qk}")
    patterns = [choose_patterns(options, shape, layer) for layer in range(shape.n_layers)]
    stack = PositionedStack(
        shape, lambda layer: SparseAttention(shape, patterns[layer], d_query), choose_positions(options, shape)
    )
    if options.initialisation == "paper":
        initialise_stack(stack)
    return stack


def choose_positions(options: SparseOptions, shape: ModelShape) -> SummedPositions | None:
    """Return the positions that the stack adds itself."""
    if options.data_sizes is not None:
        return data_grid(shape, options.data_sizes)
    return attention_grid(shape, choose_stride(options, shape)) if options.positions == "attention" else None


def choose_stride(options: SparseOptions, shape: ModelShape) -> int:
    """Return the stride; raises ValueError when it is above the length."""
    stride = options.stride or 2 ** math.floor(math.log2(shape.max_length) / 2 + 0.5)
    if stride > shape.max_length:
        raise ValueError(
            f"stride must not exceed max_length ({shape.max_length}), got {stride}; lower it, or set it to null"
        )
    return stride


def choose_patterns(options: SparseOptions, shape: ModelShape, layer: int) -> list[Pattern]:
    """Return the pattern of each head in `layer`; raises ValueError when the options do not fit the shape."""
    if options.combination == "multihead" and shape.n_heads < 2:
        raise ValueError("combination multihead needs n_heads of at least 2, got 1; choose interleave or merged")
    if options.combination == "merged":
        sets = [(True, True)] * shape.n_heads
    else:
        turns = [layer if options.combination == "interleave" else head for head in range(shape.n_heads)]
        sets = [(turn % 2 == 0, turn % 2 == 1) for turn in turns]
    stride = choose_stride(options, shape)
    if options.pattern == "strided":
        return [Strided(stride, shape.causal, near, far, options.window or stride + 1) for near, far in sets]
    lefts = iter(choose_summaries(options, stride, n_readers=sum(far for _, far in sets)))
    width = choose_summary_width(options, stride)
    patterns: list[Pattern] = []
    for near, far in sets:
        left = next(lefts) if far else 0
        patterns.append(Fixed(stride, shape.causal, near, far, left, left + width, options.self_in_summary))
    return patterns


def choose_summary_width(options: SparseOptions, stride: int) -> int:
    """Return the summary width; raises ValueError when a block does not hold it."""
    width = options.summary_width or max(1, min(8, stride // 4))
    if width > stride:
        raise ValueError(f"summary_width must not exceed stride ({stride}), got {width}; lower it or set it to null")
    return width


def choose_summaries(options: SparseOptions, stride: int, n_readers: int) -> list[int]:
    """Return the first summary cell of each head that reads summaries, counted from the end of the block."""
    width = choose_summary_width(options, stride)
    distinct = options.distinct_summaries
    if distinct is None:
        distinct = options.combination == "multihead"
    if not distinct:
        return [stride - width] * n_readers
    if n_readers * width > stride:
        raise ValueError(
            f"distinct summaries of {n_readers} heads, {width} cells each, must fit into the stride ({stride}); lower"
            " summary_width or set distinct_summaries: false"
        )
    return [stride - (index + 1) * width for index in range(n_readers)]


def cost(options: SparseOptions, shape: ModelShape, length: int) -> LayerCost:
    """Return what one layer's attention costs by formula, the mean over the layers."""
    d_query = max(1, round(options.d_qk * shape.d_head))
    layers = [choose_patterns(options, shape, layer) for layer in range(shape.n_layers)]
    found = [costs.layer_cost(patterns, shape, d_query, length) for patterns in layers]
    return LayerCost(*(sum(values) / len(found) for values in zip(*found, strict=True)))


def paper_flops(options: SparseOptions, shape: ModelShape, length: int) -> float:
    """Return the FLOPs of one layer by the paper's count, the mean over the layers."""
    d_query = max(1, round(options.d_qk * shape.d_head))
    layers = [choose_patterns(options, shape, layer) for layer in range(shape.n_layers)]
    return sum(costs.paper_flops(patterns, shape, d_query, length) for patterns in layers) / len(layers)


def initialise(options: SparseOptions, model: nn.Module) -> None:
    """Set the paper's initial weights around the backbone, where the options ask for them."""
    if options.initialisation == "paper":
        initialise_ends(model)


def complexity(options: SparseOptions) -> Complexity:
    """Return what is claimed: the stride grows with the root of the length, unless it is fixed."""
    return Complexity(time=1.5 if options.stride is None else 2.0, memory=1.0, formula="n sqrt(n) d")


SPARSE = Variant(
    name="sparse",
    summary="Each token attends to a window and to every l-th token, or to its block and the summaries of others.",
    paper="Child et al. 2019, Generating Long Sequences with Sparse Transformers",
    supports=frozenset({Capability.BIDIRECTIONAL, Capability.CAUSAL, Capability.PADDING, Capability.STEPWISE}),
    options=SparseOptions,
    build=build,
    complexity=complexity(SparseOptions()),
    complexity_under=complexity,
    # Strides follow from the length: 4 for the contract suite's sequences, and growing where it counts cost.
    check_options=(
        {},
        {"combination": "merged", "window": 2},
        {"combination": "multihead", "d_qk": 0.5, "positions": "attention"},
        {"initialisation": "paper", "quick_gelu": True, "recompute": False},
        {"pattern": "fixed", "summary_width": 2},
        {"pattern": "fixed", "summary_width": 2, "combination": "multihead"},
        {"pattern": "fixed", "summary_width": 2, "combination": "merged", "distinct_summaries": True},
    ),
    adapt_shape=adapt_shape,
    cost=cost,
    paper_flops=paper_flops,
    initialise=initialise,
)


@hookimpl
def register_variants() -> Sequence[Variant]:
    """Register the variant."""
    return [SPARSE]
