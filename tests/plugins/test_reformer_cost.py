"""What Reformer costs: the formula against counts."""

from __future__ import annotations

from typing import Any

import pytest

from attention_arena.testing.formula import SIZES, count_layer
from attention_arena.testing.trial import trials
from attention_arena_variants.reformer import REFORMER
from attention_arena_variants.reformer.cost import layer_cost
from attention_arena_variants.reformer.options import ReformerOptions

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


@pytest.mark.parametrize("length", [6, 97])
@pytest.mark.parametrize("positions", ["none", "rotary"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_hashes": 3},
        {"n_hashes": 3, "duplicate_correction": False},
        {"within_bucket": True, "attention_dropout": 0.1},
        {"n_buckets": 400, "scale": "sqrt"},
        {"n_buckets": 20000, "within_bucket": True},
        {"wrap": True},
        {"attention_dropout": 0.1},
        {"attention": "full"},
        {"attention": "full", "attention_dropout": 0.1},
        {"attention": "full", "shared_qk": False},
    ],
    ids=str,
)
def test_the_formula_is_what_is_counted(length: int, positions: str, options: dict[str, Any]) -> None:
    """Exactly, in both directions; 6 tokens are fewer than a chunk holds."""
    chosen = ReformerOptions(bucket_size=8, **options)
    for trial in trials(REFORMER, chosen, **(SIZES | {"positions": positions}), max_length=100):
        assert count_layer(trial, length) == layer_cost(chosen, trial.shape, length), trial


def test_strict_causal_costs_as_much_as_the_formula_says() -> None:
    chosen = ReformerOptions(bucket_size=8, n_hashes=2, strict_causal=True)
    (trial,) = trials(REFORMER, chosen, causal=True, **SIZES, max_length=100)
    assert count_layer(trial, 97) == layer_cost(chosen, trial.shape, 97)
