"""What variants claim under options that change their growth, against the cost that they state by formula."""

from __future__ import annotations

import math
from typing import Any

import pytest

from attention_arena.catalogue import load_catalogue
from attention_arena.variant import LayerCost, ModelShape, Options, Variant

VARIANTS = load_catalogue(kinds=("variant",)).variants
LENGTHS = (2**14, 2**16)
NARROW, WIDE = 8, 512
"""Widths at which what is beside attention hardly shows: in time the projections, in memory the masks of blocks."""
TOLERANCE = 0.1


@pytest.mark.parametrize(
    ("name", "given", "time", "memory"),
    [
        ("softmax", {}, 2.0, 1.0),
        ("softmax", {"implementation": "naive"}, 2.0, 2.0),
        ("sparse", {"combination": "merged"}, 1.5, 1.0),
        ("sparse", {"combination": "merged", "stride": 16}, 2.0, 1.0),
        ("transformer_xl", {"segment_length": 512, "memory": 512}, 1.0, 1.0),
        ("linformer", {"rank": 64}, 1.0, 1.0),
        ("longformer", {"window": 64}, 1.0, 1.0),
        ("performer", {"n_features": 64}, 1.0, 1.0),
        ("passthrough", {}, 1.0, 1.0),
    ],
    ids=lambda each: "-".join(f"{key}={value}" for key, value in each.items()) if isinstance(each, dict) else None,
)
def test_a_claim_is_what_the_formula_grows_by(name: str, given: dict[str, Any], time: float, memory: float) -> None:
    variant = VARIANTS[name]
    options = variant.options(**given)
    claim = variant.claim(options)
    assert claim is not None
    assert (claim.time, claim.memory) == (time, memory)
    assert _exponents(variant, options, NARROW).flops == pytest.approx(time, abs=TOLERANCE)
    assert _exponents(variant, options, WIDE).saved_bytes == pytest.approx(memory, abs=TOLERANCE)


def _exponents(variant: Variant, options: Options, width: int) -> LayerCost:
    assert variant.cost is not None
    costs = []
    for length in LENGTHS:
        shape = ModelShape(d_model=width, n_heads=2, n_layers=1, max_length=length)
        costs.append(variant.cost(options, shape, length))
    growth = LENGTHS[1] / LENGTHS[0]
    return LayerCost(*(math.log(after / before, growth) for before, after in zip(*costs, strict=True)))


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_the_claim_under_default_options_is_the_one_on_record(name: str) -> None:
    assert VARIANTS[name].claim(VARIANTS[name].options()) == VARIANTS[name].complexity


def test_the_reference_is_marked_and_no_model_is() -> None:
    assert [name for name, variant in VARIANTS.items() if variant.reference] == ["passthrough"]
