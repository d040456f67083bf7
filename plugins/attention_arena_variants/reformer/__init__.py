"""Catalogue entry of Reformer (Kitaev, Kaiser and Levskaya 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attention_arena.hooks import hookimpl
from attention_arena.layers import Stack
from attention_arena.measure import Measure
from attention_arena.variant import Backbone, Capability, Complexity, ModelShape, Variant
from attention_arena_variants.reformer.attention import ReformerAttention
from attention_arena_variants.reformer.cost import layer_cost, paper_flops
from attention_arena_variants.reformer.diagnostics import LSH
from attention_arena_variants.reformer.options import ReformerOptions


def adapt_shape(options: ReformerOptions, shape: ModelShape) -> ModelShape:
    """Return `shape` with the residual stack and the feed-forward chunks that the options ask for.

    Raises ValueError when the shape normalises after the residual, which a reversible stack cannot undo.
    """
    changes: dict[str, Any] = {}
    if options.reversible:
        if shape.norm == "post":
            raise ValueError("norm must be pre for a reversible stack, got post; set norm: pre, or reversible: false")
        changes["residual"] = "reversible"
    if options.feed_forward_chunks is not None:
        changes["feed_forward_chunks"] = options.feed_forward_chunks
    return type(shape).model_validate({**shape.model_dump(), **changes})


def build(options: ReformerOptions, shape: ModelShape) -> Backbone:
    """Return a stack of shared-QK attention in `shape`, which has been through `adapt_shape`."""
    if options.strict_causal and not shape.causal:
        raise ValueError("strict_causal: true needs a causal model, got a bidirectional one; leave strict_causal false")
    return Stack(shape, lambda layer: ReformerAttention(shape, options))


REFORMER = Variant(
    name="reformer",
    summary="Hashing sorts similar tokens together; attention stays inside chunks, and layers are reversible.",
    paper="Kitaev et al. 2020, Reformer: The Efficient Transformer",
    supports=frozenset({Capability.BIDIRECTIONAL, Capability.CAUSAL, Capability.PADDING}),
    options=ReformerOptions,
    build=build,
    complexity=Complexity(time=1.3, memory=1.0, formula="n log n", at_most=True),
    caveats={
        "perturbation_causality": (
            "later tokens move the chunk boundaries of the sorted sequence, and with them which earlier tokens a query"
            " can reach; gradients are causal, and strict_causal makes the outputs so"
        ),
    },
    check_options=(
        {"bucket_size": 4, "n_hashes": 2},
        {"bucket_size": 3, "n_hashes": 2, "n_buckets": 4, "within_bucket": True, "attention_dropout": 0.1},
    ),
    adapt_shape=adapt_shape,
    cost=layer_cost,
    paper_flops=paper_flops,
)


@hookimpl
def register_variants() -> Sequence[Variant]:
    """Register the variant."""
    return [REFORMER]


@hookimpl
def register_measures() -> Sequence[Measure]:
    """Register the measure of what hashing finds."""
    return [LSH]


@hookimpl
def register_figures() -> Sequence[Any]:
    """Register the figures of what hashing finds."""
    # Here and not above: a process that trains must not load what draws.
    from attention_arena_variants.reformer.figures import LSH_BALANCE, LSH_RECALL

    return [LSH_RECALL, LSH_BALANCE]
