"""What the reference for cost promises: values come out as they went in, and nothing else is computed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attention_arena.testing.formula import SIZES, count_layer
from attention_arena.testing.trial import trials
from attention_arena.variant import Context, ModelShape
from attention_arena_variants.passthrough import PASSTHROUGH, PassThroughOptions, cost
from attention_arena_variants.passthrough.attention import PassThrough

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")

B, T, H, E = 3, 7, 2, 4


def attention() -> PassThrough:
    return PassThrough(ModelShape(d_model=H * E, n_heads=H, max_length=T))


def heads() -> tuple[Tensor, Tensor, Tensor]:
    query, key, value = torch.randn(3, B, H, T, E, dtype=torch.float64)
    return query, key, value


def test_values_come_out_as_they_went_in() -> None:
    query, key, value = heads()
    assert torch.equal(attention().attend(query, key, value, Context()), value)


def test_padding_gives_zeros_and_changes_nothing_else() -> None:
    query, key, value = heads()
    valid = torch.arange(T) < torch.tensor([T, 3, 0])[:, None]
    found = attention().attend(query, key, value, Context(valid))
    kept = valid[:, None, :, None].expand_as(value)
    assert torch.equal(found[kept], value[kept])
    assert not found[~kept].any()


def test_no_token_sees_another() -> None:
    x = torch.randn(B, T, H * E, requires_grad=True)
    hidden = attention()(x, Context()).hidden
    (gradient,) = torch.autograd.grad(hidden[:, 3].sin().sum(), [x])
    others = torch.arange(T) != 3
    assert not gradient[:, others].any()
    assert gradient[:, 3].abs().min() > 0


def test_queries_and_keys_weigh_nothing_but_are_projected() -> None:
    module = attention()
    module(torch.randn(B, T, H * E), Context()).hidden.sin().sum().backward()
    assert module.project_in.weight.grad is not None
    for_query, for_key, for_value = module.project_in.weight.grad.chunk(3)
    assert not for_query.any()
    assert not for_key.any()
    assert for_value.abs().min() > 0


@pytest.mark.parametrize("length", [256, 1024])
def test_its_cost_is_that_of_the_projections_exactly(length: int) -> None:
    options = PassThroughOptions()
    for trial in trials(PASSTHROUGH, options, **SIZES, max_length=length):
        assert count_layer(trial, length) == cost(options, trial.shape, length)
