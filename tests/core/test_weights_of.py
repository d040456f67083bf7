"""Weights are found where heads are weights times values, and refused where they are not."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from attention_arena.layers import Attention, HeadAttention, NoWeightsError, weights_of
from attention_arena.variant import Context, ModelShape

B, H, T, S, E = 2, 3, 5, 11, 4
"""More keys than a head is wide, and no multiple of it."""
GENERATOR = torch.Generator().manual_seed(5)
"""Not PyTorch's own, so that nobody restores it."""


def _values() -> Tensor:
    return torch.randn(B, H, S, E, generator=torch.Generator().manual_seed(0))


def _matrix() -> Tensor:
    return torch.randn(B, H, T, S, generator=torch.Generator().manual_seed(1))


def test_weights_are_the_matrix_that_heads_are_made_with() -> None:
    matrix = _matrix()
    assert torch.equal(weights_of(lambda values: matrix @ values, _values()), matrix)


def test_an_attention_that_writes_over_its_result_is_no_trouble() -> None:
    matrix, result = _matrix(), torch.empty(B, H, T, E)
    found = weights_of(lambda values: torch.matmul(matrix, values, out=result), _values())
    assert torch.equal(found, matrix)


def test_what_is_drawn_is_drawn_alike_each_time_and_the_generator_is_restored() -> None:
    torch.manual_seed(3)
    expected = torch.randn(B, H, T, S)
    torch.manual_seed(3)
    found = weights_of(lambda values: torch.randn(B, H, T, S) @ values, _values())
    assert torch.equal(found, expected)
    assert torch.equal(torch.randn(B, H, T, S), expected)


@pytest.mark.parametrize(
    "attend",
    [
        lambda values: _matrix() @ values.relu(),
        lambda values: _matrix() @ values + 1.0,
        lambda values: _matrix() @ (values * torch.arange(E)),
        lambda values: torch.randn(B, H, T, S, generator=GENERATOR) @ values,
        lambda values: _matrix() @ values * torch.nan,
    ],
    ids=["not linear", "shifted", "weighs channels differently", "decides anew", "not a number"],
)
def test_what_is_no_weighted_sum_is_refused(attend: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(NoWeightsError, match="not one matrix per head times the values"):
        weights_of(attend, _values())


class Mean(HeadAttention):
    """The mean of values."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        return value.mean(2, keepdim=True).expand_as(value)


def test_an_attention_on_rung_1_needs_no_code_for_its_weights() -> None:
    attention = Mean(ModelShape(d_model=8, n_heads=2, max_length=6))
    weights = attention.weights(torch.randn(3, 6, 8), Context())
    torch.testing.assert_close(weights, torch.full((3, 2, 6, 6), 1 / 6))
    assert not weights.requires_grad


def test_an_attention_on_rung_2_says_that_it_has_none() -> None:
    with pytest.raises(NotImplementedError, match="Attention does not say its attention weights"):
        Attention().weights_raw(torch.zeros(1, 2, 4), torch.nn.Identity(), Context())
