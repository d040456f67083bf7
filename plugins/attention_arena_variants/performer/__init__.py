"""Catalogue entry of Performer (Choromanski et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from pydantic import Field, model_validator

from attention_arena.hooks import hookimpl
from attention_arena.layers import Stack
from attention_arena.measure import Measure
from attention_arena.variant import Backbone, Capability, Complexity, LayerCost, ModelShape, Options, Variant
from attention_arena_variants.performer import cost as costs
from attention_arena_variants.performer.attention import Form, PerformerAttention
from attention_arena_variants.performer.causal import attend_causally
from attention_arena_variants.performer.diagnostics import KERNEL_ERROR
from attention_arena_variants.performer.features import FUNCTIONS, Exponential, FeatureMap, Pointwise, Trigonometric
from attention_arena_variants.performer.linear import Rules, attend_linearly
from attention_arena_variants.performer.mixture import attend_by_mixture
from attention_arena_variants.performer.projections import Distribution, draw_sets, no_projection
from attention_arena_variants.performer.redrawing import Directions

SOFTMAX_KERNELS = ("positive", "hyperbolic", "trigonometric")
FUNCTION_EPS = 1e-3
"""Added to features of a function, where `eps` is null (the authors' value)."""
SHORTEST_CHUNK = 32
"""Below it, products are too small to be fast."""


class PerformerOptions(Options):
    """Options of Performer."""

    kernel: Literal[
        "positive", "hyperbolic", "trigonometric",
        "relu", "exp", "elu", "gelu", "sigmoid", "tanh", "abs", "cos", "identity",
    ] = Field(
        "positive",
        description="features that estimate softmax (the first three), or a function f of a kernel f(W x) + eps; the"
        " paper's 'Performer' without a suffix is relu",
    )  # fmt: skip
    n_features: int | None = Field(
        256,
        ge=1,
        description="random directions (m in the paper), of which hyperbolic and trigonometric make two features each;"
        " null: none, a function of the head itself, f(x) + eps",
    )
    distribution: Distribution = Field(
        "orthogonal",
        description="Gaussian directions: independent, at right angles, or at right angles and of one length (SMREG,"
        " biased low with less variance)",
    )
    per_head: bool = Field(False, description="directions of its own for each head")
    redraw_interval: int | None = Field(
        1000, ge=0, description="training forwards of a layer after which directions are drawn anew; 0 or null: never"
    )
    eps: float | None = Field(
        None, ge=0.0, lt=1.0, description="added to each feature; null: 1e-3 for a function, 0 for softmax features"
    )
    min_denominator: float = Field(
        1e-6, gt=0.0, lt=1.0, description="least size of a sum of weights, where features may be negative"
    )
    chunk: int | None = Field(
        None,
        ge=1,
        description="causal: tokens whose pairs are computed one by one, between sums; null: d_head, at least 32",
    )

    @model_validator(mode="after")
    def _options_fit(self) -> PerformerOptions:
        if self.n_features is None and self.kernel in SOFTMAX_KERNELS:
            raise ValueError(
                f"kernel {self.kernel} estimates softmax from random directions: n_features must be 1 or more, got"
                " null; give a number, or a kernel that is a function (relu)"
            )
        if self.n_features is None and self.per_head:
            raise ValueError("per_head needs directions, and n_features: null has none; give a number or leave it out")
        if self.kernel == "trigonometric" and self.eps:
            raise ValueError(f"eps must be 0 for trigonometric features, which it would bias, got {self.eps:g}")
        return self


def choose_kernel(options: PerformerOptions, d_head: int) -> FeatureMap:
    """Return the feature map for heads of width `d_head`; the three that estimate softmax scale by its square root."""
    eps = options.eps if options.eps is not None else 0.0 if options.kernel in SOFTMAX_KERNELS else FUNCTION_EPS
    if options.kernel == "trigonometric":
        return Trigonometric(d_head**-0.25)
    if options.kernel in SOFTMAX_KERNELS:
        return Exponential(d_head**-0.25, mirrored=options.kernel == "hyperbolic", eps=eps)
    if options.kernel == "exp":
        return Exponential(1.0, quadratic=False, eps=eps)
    function, signed = FUNCTIONS[options.kernel]
    return Pointwise(1.0, function, signed=signed, eps=eps)


def choose_form(rules: Rules, causal: bool) -> Form:
    """Return the fastest form of attention under `rules`."""
    kernel = rules.kernel
    if causal:
        return partial(attend_causally, rules=rules)
    if isinstance(kernel, Exponential) and kernel.as_mixture:
        return partial(attend_by_mixture, kernel=kernel)
    return partial(attend_linearly, rules=rules)


def choose_directions(options: PerformerOptions, shape: ModelShape) -> Directions:
    """Return new directions, drawn from a seed that the global CPU generator gives."""
    E, m, n_draws = shape.d_head, options.n_features, shape.n_heads if options.per_head else 1
    if m is None:
        return Directions(partial(no_projection, E), interval=0)
    return Directions(partial(draw_sets, n_draws, options.distribution, m, E), options.redraw_interval or 0)


def choose_chunk(options: PerformerOptions, d_head: int) -> int:
    """Return the tokens of a causal chunk; at the width of a head, pairs and prefix sums cost the same."""
    return options.chunk or max(d_head, SHORTEST_CHUNK)


def choose_rules(options: PerformerOptions, shape: ModelShape) -> Rules:
    """Return how to attend."""
    kernel = choose_kernel(options, shape.d_head)
    chunk = choose_chunk(options, shape.d_head)
    return Rules.of(kernel, options.n_features or shape.d_head, options.min_denominator, chunk)


def build(options: PerformerOptions, shape: ModelShape) -> Backbone:
    """Return a stack of Performer attention, each layer with directions of its own."""
    rules = choose_rules(options, shape)
    form = choose_form(rules, shape.causal)
    return Stack(shape, lambda layer: PerformerAttention(shape, choose_directions(options, shape), form, rules))


def cost(options: PerformerOptions, shape: ModelShape, length: int) -> LayerCost:
    """Return what one layer costs."""
    kernel, m = choose_kernel(options, shape.d_head), options.n_features or shape.d_head
    as_mixture = isinstance(kernel, Exponential) and kernel.as_mixture and not shape.causal
    R = m * kernel.weights_per_direction
    chunk = choose_chunk(options, shape.d_head)
    return costs.layer_cost(shape, length, R, R * kernel.n_per_weight, as_mixture=as_mixture, chunk=chunk)


def paper_flops(options: PerformerOptions, shape: ModelShape, length: int) -> float:
    """Return the FLOPs of one layer by the paper's count."""
    kernel, m = choose_kernel(options, shape.d_head), options.n_features or shape.d_head
    R, chunk = m * kernel.weights_per_direction, choose_chunk(options, shape.d_head)
    return costs.paper_flops(shape, length, R, R * kernel.n_per_weight, chunk=chunk)


PERFORMER = Variant(
    name="performer",
    summary="Products of random features estimate softmax, so that one sum over the keys serves all queries.",
    paper="Choromanski et al. 2020, Rethinking Attention with Performers",
    supports=frozenset({Capability.BIDIRECTIONAL, Capability.CAUSAL, Capability.PADDING, Capability.STEPWISE}),
    options=PerformerOptions,
    build=build,
    complexity=Complexity(time=1.0, memory=1.0, formula="n m d"),
    check_options=(
        {"n_features": 16},
        {"n_features": 11, "per_head": True, "redraw_interval": 1, "chunk": 3, "distribution": "iid"},
        {"n_features": 8, "kernel": "hyperbolic", "distribution": "regularised", "chunk": 5},
        {"n_features": 8, "eps": 1e-4, "chunk": 1},
        {"n_features": 12, "kernel": "trigonometric", "chunk": 4},
        {"n_features": 12, "kernel": "relu", "redraw_interval": 2, "chunk": 4},
        {"n_features": 12, "kernel": "exp", "eps": 0.0, "chunk": 4},
        {"n_features": None, "kernel": "elu", "chunk": 4},
    ),
    cost=cost,
    paper_flops=paper_flops,
)


@hookimpl
def register_variants() -> Sequence[Variant]:
    """Register the variant."""
    return [PERFORMER]


@hookimpl
def register_measures() -> Sequence[Measure]:
    """Register the measure of what features cost in exactness."""
    return [KERNEL_ERROR]


@hookimpl
def register_figures() -> Sequence[Any]:
    """Register the figure of what features cost in exactness."""
    # Here and not above: a process that trains must not load what draws.
    from attention_arena_variants.performer.figures import KERNEL_ERROR_BY_FEATURES

    return [KERNEL_ERROR_BY_FEATURES]
