"""What Linformer costs: which products it computes, what it keeps, and the formula of both."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from attention_arena.layers import Stack
from attention_arena.measures import count_flops, saved_for_backward
from attention_arena.testing.formula import SIZES, count_layer
from attention_arena.testing.trial import trials
from attention_arena.variant import Context, ModelShape
from attention_arena_variants.linformer import LINFORMER, LinformerOptions, build
from attention_arena_variants.linformer.attention import LinformerAttention

D, R = 16, 8

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


def layer(max_length: int, **options: Any) -> LinformerAttention:
    shape = ModelShape(d_model=D, n_heads=2, n_layers=1, max_length=max_length, positions="none")
    backbone = build(LinformerOptions(rank=R, **options), shape)
    assert isinstance(backbone, Stack)
    attention = backbone.blocks[0].attention
    assert isinstance(attention, LinformerAttention)
    return attention


@pytest.mark.parametrize("T", [5, R, R + 1, 64])
@pytest.mark.parametrize(
    ("options", "n_matrices", "heads_share"),
    [
        ({}, 2, True),
        ({"sharing": "key_value"}, 1, True),
        ({"sharing": "layerwise"}, 1, True),
        ({"projection": "mean"}, 0, True),
        ({"sharing": "none"}, 2, False),
        ({"projection": "max"}, 0, False),
        ({"projection": "convolution"}, 0, False),
    ],
)
def test_slots_alone_are_projected_where_that_is_less(
    T: int, options: dict[str, Any], n_matrices: int, heads_share: bool
) -> None:
    """D^2 products for query and output of every token; for key and value of R slots, or of every token.

    Where key and value share a matrix, it is applied once to the input, or once to each of them.
    """
    attention, x = layer(64, **options), torch.randn(1, T, D)
    shortened_first = heads_share and T > R
    if n_matrices == 1 and not shortened_first:
        n_matrices = 2
    rows = 2 * T * D**2 + 2 * (R if shortened_first else T) * D**2
    expected = rows + n_matrices * R * T * D + 2 * T * R * D
    assert count_flops(lambda: attention(x, Context())) == 2 * expected


@pytest.mark.parametrize("B", [1, 3])
def test_a_layer_keeps_its_input_query_and_heads_and_no_copy(B: int) -> None:
    """Under autocast the input and the query are kept once, in half precision, however many products they enter."""
    T = 128
    attention, x = layer(T), torch.randn(B, T, D)
    slots, log_mass = 4 * B * R * D, B * 2 * T
    kept = saved_for_backward(lambda: attention(x, Context()).hidden, attention.parameters())
    assert kept == 4 * (3 * B * T * D + slots + log_mass)

    def lowered() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return attention(x, Context()).hidden

    weights = 4 * D**2 + 2 * R * T
    kept = saved_for_backward(lowered, attention.parameters())
    assert kept <= 2 * (2 * B * T * D + slots + weights) + 4 * (B * T * D + slots + log_mass)


def test_layers_of_different_rank_are_stated_by_their_mean() -> None:
    ranks = (16, 64, 4)
    shape = ModelShape(**(SIZES | {"n_layers": 3}), max_length=100)
    alone = [LINFORMER.cost(LinformerOptions(rank=rank), shape, 99) for rank in ranks]  # type: ignore[misc]
    together = LINFORMER.cost(LinformerOptions(rank=ranks), shape, 99)  # type: ignore[misc]
    assert together == pytest.approx(tuple(sum(values) / 3 for values in zip(*alone, strict=True)))


@pytest.mark.parametrize("length", [40, 99])
@pytest.mark.parametrize("rank", [7, 50])
@pytest.mark.parametrize("positions", ["none", "rotary"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sharing": "none"},
        {"sharing": "key_value"},
        {"sharing": "layerwise"},
        {"projection": "mean"},
        {"projection": "max"},
        {"projection": "convolution"},
        {"attention_dropout": 0.1},
    ],
    ids=str,
)
def test_the_formula_is_what_is_counted(length: int, rank: int, positions: str, options: dict[str, Any]) -> None:
    """Exactly, but for the bytes of the kernel with dropout, which also scales copies of its own: to 12 %."""
    chosen = LinformerOptions(rank=rank, **options)
    (trial,) = trials(LINFORMER, chosen, **(SIZES | {"positions": positions}), max_length=100)
    found, stated = count_layer(trial, length), LINFORMER.cost(chosen, trial.shape, length)  # type: ignore[misc]
    assert stated.flops == found.flops
    tolerance = 0.12 if chosen.attention_dropout else 0
    assert stated.saved_bytes == pytest.approx(found.saved_bytes, rel=tolerance, abs=0)
