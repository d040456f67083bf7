"""Linformer's way from tokens to slots and back in half precision, where float32 computes it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from attention_arena.layers import half_precision
from attention_arena.measures.memory.counting import saved_for_backward
from attention_arena_variants.linformer.wide import Slots, attend_widely

B, H, T, R, D = 3, 2, 11, 4, 8

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


def operands() -> list[Tensor]:
    """Return hidden states, weights to queries and out, of scale D^-1/2, and slots in half precision; all learn."""
    weights = [torch.randn(D, D) * D**-0.5 for _ in range(2)]
    slots = [torch.randn(B, R, D).bfloat16() for _ in range(2)]
    return [part.requires_grad_() for part in (torch.randn(B, T, D), *weights, *slots)]


def attend(x: Tensor, to_query: Tensor, to_out: Tensor, key: Tensor, value: Tensor) -> Tensor:
    kept = x.to(torch.bfloat16) if torch.is_grad_enabled() else None
    return attend_widely(x, kept, to_query, Slots(key, value, H), to_out, torch.bfloat16)


def attend_plainly(x: Tensor, to_query: Tensor, to_out: Tensor, key: Tensor, value: Tensor) -> Tensor:
    parts = x @ to_query.t(), key, value
    query, key, value = (torch.unflatten(part, -1, (H, -1)).transpose(1, 2) for part in parts)
    heads = functional.scaled_dot_product_attention(query, key, value)
    return heads.transpose(1, 2).flatten(2) @ to_out.t()


@pytest.mark.parametrize("at_once", [1, 3 * D, 2 * T * D, 2**20], ids=["a token", "tokens", "rows", "all"])
def test_numbers_are_those_of_float64_rounded(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The output is rounded once; gradients meet queries, heads and inputs that were, in sums of up to 33 tokens."""
    monkeypatch.setattr(half_precision, "NUMBERS_AT_ONCE", at_once)
    given = operands()
    exact = [part.detach().double().requires_grad_() for part in given]
    found, expected = attend(*given), attend_plainly(*exact)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), expected, rtol=2**-8 + 1e-5, atol=1e-5)
    grad = torch.randn(found.shape).bfloat16()
    gradients = torch.autograd.grad(expected, exact, grad.double())
    for part, one, other in zip(given, torch.autograd.grad(found, given, grad), gradients, strict=True):
        assert one.dtype == part.dtype
        torch.testing.assert_close(one.double(), other, rtol=2**-7, atol=2e-2 * other.abs().max().item())


def test_without_gradients_numbers_stay() -> None:
    given = operands()
    expected = attend(*given)
    with torch.no_grad():
        assert torch.equal(attend(*given), expected)


def test_backward_keeps_input_queries_and_heads_in_half_precision() -> None:
    given = operands()
    kept = saved_for_backward(lambda: attend(*given), given[1:])
    assert kept == 2 * 3 * B * T * D + 4 * B * H * T


def test_a_gradient_of_a_gradient_is_refused() -> None:
    given = operands()
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(attend(*given).float().sum(), given, create_graph=True)
