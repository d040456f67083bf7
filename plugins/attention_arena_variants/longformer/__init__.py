"""Catalogue entry of Longformer (Beltagy et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import Field, field_validator

from attention_arena.hooks import hookimpl
from attention_arena.layers import Stack
from attention_arena.variant import Backbone, Capability, Complexity, LayerCost, ModelShape, Options, Variant
from attention_arena_variants.longformer import cost as costs
from attention_arena_variants.longformer.attention import GlobalTokens, LongformerAttention
from attention_arena_variants.longformer.dilation import attend_blocked
from attention_arena_variants.longformer.flex import attend_flex
from attention_arena_variants.longformer.pattern import Pattern

Window = Annotated[int, Field(ge=2)]
Dilation = Annotated[int, Field(ge=1)]
Entry = TypeVar("Entry")


class LongformerOptions(Options):
    """Options of Longformer; windows and dilations may grow from layer to layer, as the paper's do."""

    window: Window | tuple[Window, ...] = Field(
        512,
        description="keys of a query besides its own (w in the paper), even: bidirectional half on either side, causal"
        " all of them before it; one number, or one for each layer from the bottom",
    )
    dilation: Dilation | tuple[Dilation | tuple[Dilation, ...], ...] = Field(
        1,
        description="distance of neighbouring keys in the window, 1 without gaps (the paper's gaps plus 1); one number,"
        " or for each layer from the bottom one number or one for each head; a list of one entry serves all layers",
    )
    n_landmarks: int = Field(
        0, ge=0, description="tokens at the start that are global, besides those that the task singles out"
    )
    global_projections: bool = Field(
        True, description="global tokens have query, key and value projections of their own, at first equal to the rest"
    )
    attention_dropout: float = Field(0.0, ge=0.0, lt=1.0, description="dropout of attention probabilities")
    implementation: Literal["auto", "blocked", "flex"] = Field(
        "auto", description="blocks anywhere, or flex_attention (CUDA; on a CPU evaluation alone); auto takes blocks"
    )

    @field_validator("window")
    @classmethod
    def _windows_are_even(cls, window: int | tuple[int, ...]) -> int | tuple[int, ...]:
        for layer, width in enumerate((window,) if isinstance(window, int) else window):
            if width % 2:
                place = "" if isinstance(window, int) else f" of layer {layer}"
                raise ValueError(f"window{place} must be even, half for either side, got {width}; use {width + 1}")
        return window


IMPLEMENTATIONS = {"auto": attend_blocked, "blocked": attend_blocked, "flex": attend_flex}
"""`auto` is the blocked form everywhere, until flex_attention has been measured to be faster on some device."""


def patterns_of(options: LongformerOptions, shape: ModelShape) -> list[Pattern]:
    """Return each layer's pattern; raises ValueError where lists of the options do not fit the shape."""
    window, dilation = options.window, options.dilation
    windows = _per_layer("window", window if isinstance(window, tuple) else (window,), shape)
    dilations = _per_layer("dilation", dilation if isinstance(dilation, tuple) else (dilation,), shape)
    return [
        Pattern(width, _per_head(distance, shape), shape.causal)
        for width, distance in zip(windows, dilations, strict=True)
    ]


def _per_layer(name: str, entries: tuple[Entry, ...], shape: ModelShape) -> tuple[Entry, ...]:
    if len(entries) not in (1, shape.n_layers):
        raise ValueError(
            f"{name} must have one entry, or one for each of the {shape.n_layers} layers (n_layers), got"
            f" {len(entries)}: {list(entries)}; give one, or {shape.n_layers}"
        )
    return entries if len(entries) == shape.n_layers else entries * shape.n_layers


def _per_head(dilation: int | tuple[int, ...], shape: ModelShape) -> tuple[int, ...]:
    if isinstance(dilation, int):
        return (dilation,) * shape.n_heads
    if len(dilation) != shape.n_heads:
        raise ValueError(
            f"dilation of a layer must be one number, or one for each of the {shape.n_heads} heads (n_heads),"
            f" got {len(dilation)}: {list(dilation)}; give one number, or {shape.n_heads}"
        )
    return dilation


def build(options: LongformerOptions, shape: ModelShape) -> Backbone:
    """Return a stack of window attention; raises ValueError where options and shape do not fit."""
    patterns = patterns_of(options, shape)
    if options.n_landmarks > shape.max_length:
        raise ValueError(
            f"n_landmarks must not exceed max_length ({shape.max_length}), got {options.n_landmarks}; lower it"
        )
    if options.implementation == "flex" and options.attention_dropout:
        raise ValueError(
            f"implementation: flex cannot drop weights, got attention_dropout {options.attention_dropout};"
            " set it to 0, or use implementation: blocked"
        )
    tokens = GlobalTokens(options.n_landmarks, options.global_projections)
    attend = IMPLEMENTATIONS[options.implementation]
    return Stack(
        shape, lambda layer: LongformerAttention(shape, patterns[layer], tokens, attend, options.attention_dropout)
    )


def cost(options: LongformerOptions, shape: ModelShape, length: int) -> LayerCost:
    """Return what a layer costs by formula, in the blocked form."""
    patterns = patterns_of(options, shape)
    return costs.layer_cost(shape, patterns, length, options.n_landmarks, options.global_projections)


def paper_flops(options: LongformerOptions, shape: ModelShape, length: int) -> float:
    """Return the FLOPs of one layer by the paper's count."""
    patterns = patterns_of(options, shape)
    return costs.paper_flops(shape, patterns, length, options.n_landmarks, options.global_projections)


LONGFORMER = Variant(
    name="longformer",
    summary="A sliding window for every token, and full sight for a few global ones.",
    paper="Beltagy et al. 2020, Longformer: The Long-Document Transformer",
    supports=frozenset({Capability.BIDIRECTIONAL, Capability.CAUSAL, Capability.PADDING, Capability.STEPWISE}),
    options=LongformerOptions,
    build=build,
    complexity=Complexity(time=1.0, memory=1.0, formula="n (w + 1 + 2 g) d"),
    check_options=(
        {"window": 4},
        {"window": (2,), "dilation": ((1, 2),), "n_landmarks": 2},
        {"window": 6, "dilation": 2, "n_landmarks": 1, "global_projections": False},
        {"window": 2, "attention_dropout": 0.1},
    ),
    cost=cost,
    paper_flops=paper_flops,
)


@hookimpl
def register_variants() -> Sequence[Variant]:
    """Register the variant."""
    return [LONGFORMER]
