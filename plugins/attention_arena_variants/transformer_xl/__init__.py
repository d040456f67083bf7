"""Catalogue entry of Transformer-XL (Dai et al. 2019)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import Field, model_validator

from attention_arena.hooks import hookimpl
from attention_arena.layers import Attention
from attention_arena.variant import Backbone, Capability, Complexity, LayerCost, ModelShape, Options, Variant
from attention_arena_variants.transformer_xl import cost as costs
from attention_arena_variants.transformer_xl.attention import MemoryAttention, Recurrence
from attention_arena_variants.transformer_xl.relative import (
    QueryBiases,
    RelativeTerms,
    ShawTerms,
    SinusoidTable,
    XLTerms,
)
from attention_arena_variants.transformer_xl.segments import SegmentStack
from attention_arena_variants.transformer_xl.windows import Windows


class TransformerXLOptions(Options):
    """Options of Transformer-XL; `memory: 0` switches recurrence off, `encoding` the relative positions."""

    memory: int = Field(
        128,
        ge=0,
        description="hidden states that each layer keeps from earlier segments (M); a bidirectional model has such only"
        " with segment_length",
    )
    eval_memory: int | None = Field(None, ge=0, description="the same at evaluation, often longer; None: `memory`")
    segment_length: int | None = Field(
        None,
        ge=1,
        description="tokens in a segment (L) where the input holds several; None, or more than that: the input is one",
    )
    encoding: Literal["rel_xl", "rel_shaw", "abs"] = Field(
        "rel_xl", description="relative sinusoids, relative learned vectors, or absolute positions in each segment"
    )
    tie_uv: bool = Field(False, description="share the biases u and v of rel_xl between layers")
    same_length: bool = Field(
        False, description="a query sees no more keys, up to and with itself, than the memory is long"
    )
    clamp_length: int | None = Field(
        None, ge=1, description="at evaluation, larger distances count as this one; None: as they are"
    )
    attention_dropout: float = Field(0.0, ge=0.0, lt=1.0, description="dropout of attention probabilities")

    @model_validator(mode="after")
    def _options_fit(self) -> TransformerXLOptions:
        if self.same_length and 0 in (self.memory, self.memory_at_evaluation):
            raise ValueError(
                "same_length lets a query see `memory` keys, so memory and eval_memory must be above 0, got"
                f" {self.memory} and {self.memory_at_evaluation}; raise them, or set same_length: false"
            )
        if self.encoding != "rel_xl" and self.tie_uv:
            raise ValueError(f"tie_uv shares u and v, which only encoding rel_xl has, got {self.encoding}")
        if self.encoding == "abs" and self.clamp_length is not None:
            raise ValueError("clamp_length limits distances, which encoding abs does not have; leave it out")
        return self

    @property
    def memory_at_evaluation(self) -> int:
        """Hidden states kept at evaluation."""
        return self.memory if self.eval_memory is None else self.eval_memory


def build(options: TransformerXLOptions, shape: ModelShape) -> Backbone:
    """Return a stack that reads its input in segments; raises ValueError where options and shape do not fit."""
    segment_length = min(options.segment_length or shape.max_length, shape.max_length)
    recurrence = Recurrence(segment_length, options.memory, options.memory_at_evaluation, options.same_length)
    terms = choose_terms(options, shape, recurrence)

    def attention(layer: int) -> Attention:
        return MemoryAttention(shape, recurrence, terms(), options.attention_dropout)

    return SegmentStack(shape, attention, segment_length, positions_in_segments=options.encoding == "abs")


def cost(options: TransformerXLOptions, shape: ModelShape, length: int) -> LayerCost:
    """Return what one layer costs in training on one input of `length` tokens, without a state from another."""
    return costs.layer_cost(_windows(options, shape, length), shape, options.encoding, options.attention_dropout)


def paper_flops(options: TransformerXLOptions, shape: ModelShape, length: int) -> float:
    """Return the FLOPs of one layer by the paper's count."""
    return costs.paper_flops(_windows(options, shape, length), shape, options.encoding)


def _windows(options: TransformerXLOptions, shape: ModelShape, length: int) -> Windows:
    segment_length = min(options.segment_length or shape.max_length, shape.max_length)
    span = options.memory if options.same_length else None
    return Windows(segment_length, options.memory, shape.causal, span, n_before=0, n_tokens=length)


def choose_terms(
    options: TransformerXLOptions, shape: ModelShape, recurrence: Recurrence
) -> Callable[[], RelativeTerms | None]:
    """Return what makes one layer's relative terms."""
    if options.encoding == "abs":
        return lambda: None
    if options.encoding == "rel_shaw":
        n_after = 0 if shape.causal else recurrence.segment_length - 1
        n_before = recurrence.segment_length - 1 + recurrence.memory
        return lambda: ShawTerms(shape, n_before, n_after, options.clamp_length)
    table = SinusoidTable(shape.d_model)
    shared = QueryBiases(shape) if options.tie_uv else None
    return lambda: XLTerms(shape, shared or QueryBiases(shape), table, options.clamp_length)


def complexity(options: TransformerXLOptions) -> Complexity:
    """Return what is claimed: by default the input is one segment; with segments of fixed length, cost is linear.

    No scores are kept, so memory is linear either way.
    """
    time = 2.0 if options.segment_length is None else 1.0
    return Complexity(time, memory=1.0, formula="n (M + n) d; in segments of L: n (M + L) d")


TRANSFORMER_XL = Variant(
    name="transformer_xl",
    summary="Segments in turn, each attending to a memory of those before it, with relative positions.",
    paper="Dai et al. 2019, Transformer-XL: Attentive Language Models Beyond a Fixed-Length Context",
    supports=frozenset(
        {
            Capability.BIDIRECTIONAL,
            Capability.CAUSAL,
            Capability.PADDING,
            Capability.SEGMENT_STATE,
            Capability.STEPWISE,
        }
    ),
    options=TransformerXLOptions,
    build=build,
    positions="relative",
    complexity=complexity(TransformerXLOptions()),
    complexity_under=complexity,
    cost=cost,
    paper_flops=paper_flops,
    # Segments of 7 tokens and more: no gradient passes from one to the next, by design, so the contract suite can
    # compare with numerical gradients (7 tokens) in one segment only.
    check_options=(
        {},
        {"segment_length": 7, "memory": 3},
        {"segment_length": 8, "memory": 5, "encoding": "rel_shaw"},
        {"segment_length": 7, "memory": 4, "encoding": "abs"},
        {"segment_length": 7, "memory": 4, "same_length": True},
        {"memory": 8, "eval_memory": 12, "tie_uv": True, "clamp_length": 8},
    ),
)


@hookimpl
def register_variants() -> Sequence[Variant]:
    """Register the variant."""
    return [TRANSFORMER_XL]
