"""PyTorch's fused attention in half precision, on processors that multiply it fast and on those that do not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from attention_arena.flop_counter import count_flops
from attention_arena.layers import attend_fused, fused_attention, half_precision
from attention_arena.measures.memory.counting import saved_for_backward

B, H, T, S, E = 3, 4, 20, 33, 8

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")

AT_ONCE = pytest.mark.parametrize(
    "at_once", [1, 3 * S * E, 9 * S * E, 2**20], ids=["one head", "some heads", "some rows", "all"]
)
ALLOWED = pytest.mark.parametrize("sizes", [None, (B, 1, 1, S), (1, H, T, S), (B, 1, T, S)], ids=str)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half_precision, "has_fast_products", lambda dtype, device: False)


def projected(T: int = T, S: int = S) -> list[Tensor]:
    """Return queries (B, T, H, E), keys and values (B, S, H, E) that learn."""
    return [torch.randn(B, n, H, E, requires_grad=True) for n in (T, S, S)]


def native(**options: Any) -> Callable[..., Tensor]:
    """Return PyTorch's own attention with some options."""
    return partial(functional.scaled_dot_product_attention, **options)


def passes(attend: Callable[..., Tensor], given: list[Tensor], half: torch.dtype | None) -> list[Tensor]:
    """Return heads, under autocast to `half` if any, and gradients of what is given."""
    with torch.autocast("cpu", half or torch.bfloat16, enabled=half is not None):
        found = attend(*(x.transpose(1, 2) for x in given))
    grad = torch.randn(found.shape, generator=torch.Generator().manual_seed(1)).bfloat16().to(found.dtype)
    return [found, *torch.autograd.grad(found, given, grad)]


@AT_ONCE
@ALLOWED
@pytest.mark.usefixtures("slow")
def test_numbers_are_those_of_float64_rounded(
    at_once: int, sizes: tuple[int, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heads are those of operands as they are, not rounded; gradients of operands as they are kept."""
    monkeypatch.setattr(fused_attention, "NUMBERS_AT_ONCE", at_once)
    allowed = None if sizes is None else (torch.rand(sizes) < 0.7).index_fill(-1, torch.tensor([0]), True)
    given = projected()
    found = passes(partial(attend_fused, allowed=allowed), given, torch.bfloat16)
    exact, rounded = (
        [cut(x.detach()).double().requires_grad_() for x in given] for cut in (Tensor.float, Tensor.bfloat16)
    )
    heads, *_ = passes(native(attn_mask=allowed), exact, None)
    torch.testing.assert_close(found[0].double(), heads, rtol=1e-5, atol=1e-5)
    _, *gradients = passes(native(attn_mask=allowed), rounded, None)
    for one, other in zip(found[1:], gradients, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.double(), other, rtol=2**-8, atol=2**-6)


@AT_ONCE
@pytest.mark.usefixtures("slow")
def test_operands_of_half_precision_are_worked_on_some_at_a_time(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_attention, "NUMBERS_AT_ONCE", at_once)
    given = [x.detach().bfloat16().requires_grad_() for x in projected()]
    exact = passes(native(), [x.detach().double().requires_grad_() for x in given], None)
    for found, expected in zip(passes(attend_fused, given, None), exact, strict=True):
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found.double(), expected, rtol=2**-8, atol=2**-6)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.usefixtures("slow")
def test_it_is_pytorchs_up_to_what_it_rounds(half: torch.dtype, causal: bool) -> None:
    """PyTorch's own rounds weights and gradients of scores to `half` too."""
    given = projected(S, S)
    theirs = passes(native(is_causal=causal), given, half)
    for found, expected in zip(passes(partial(attend_fused, causal=causal), given, half), theirs, strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected.float(), rtol=0, atol=8 * torch.finfo(half).eps)


@pytest.mark.parametrize(("deviation", "times"), [(1, 1), (6, 2.5)])
@pytest.mark.usefixtures("slow")
def test_gradients_are_about_as_near_as_pytorchs(deviation: float, times: float) -> None:
    """In norm, for scores of some standard deviation: forward is of operands as they are, backward of rounded ones."""
    shapes = [(2, 128, H, 64)] * 3
    given = [
        (torch.randn(shape) * scale).requires_grad_()
        for shape, scale in zip(shapes, (deviation**0.5, deviation**0.5, 1), strict=True)
    ]
    exact = passes(native(), [x.detach().double().requires_grad_() for x in given], None)

    def errors(attend: Callable[..., Tensor]) -> Tensor:
        found = passes(attend, given, torch.bfloat16)[1:]
        return torch.stack([(a - b).norm() / b.norm() for a, b in zip(found, exact[1:], strict=True)])

    assert (errors(attend_fused) < times * errors(native())).all()


@pytest.mark.parametrize("half", [None, torch.bfloat16], ids=str)
def test_elsewhere_it_is_pytorchs_bit_for_bit(half: torch.dtype | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half_precision, "has_fast_products", lambda dtype, device: half is not None)
    given, allowed = projected(), torch.rand(B, 1, 1, S) < 0.7
    theirs = passes(native(attn_mask=allowed), given, half)
    for found, expected in zip(passes(partial(attend_fused, allowed=allowed), given, half), theirs, strict=True):
        assert torch.equal(found, expected)


@pytest.mark.usefixtures("slow")
def test_dropout_is_pytorchs() -> None:
    given = projected()

    results = []
    for attend in (native(dropout_p=0.3), partial(attend_fused, dropout=0.3)):
        torch.manual_seed(2)
        results.append(passes(attend, given, torch.bfloat16))
    for found, expected in zip(*results, strict=True):
        assert torch.equal(found, expected)


@pytest.mark.usefixtures("slow")
def test_backward_keeps_half_precision_as_pytorchs_does() -> None:
    """Under autocast heads stay in float32, as what projects them keeps the same."""
    wide = [x.transpose(1, 2) for x in projected()]
    heads = [x.detach().bfloat16().requires_grad_() for x in wide]
    of_query, of_keys, log_mass = B * H * T * E, 2 * B * H * S * E, 4 * B * H * T
    kept = saved_for_backward(lambda: attend_fused(*heads))
    assert kept == 2 * (2 * of_query + of_keys) + log_mass == saved_for_backward(lambda: native()(*heads))

    def lowered() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return attend_fused(*wide)

    assert saved_for_backward(lowered) == 2 * (of_query + of_keys) + 4 * of_query + log_mass


@pytest.mark.usefixtures("slow")
def test_flops_are_those_of_float32() -> None:
    """Under the counter both are the plain formula."""

    def count(dtype: torch.dtype) -> int:
        heads = [x.detach().to(dtype).requires_grad_() for x in projected()]
        return count_flops(lambda: torch.autograd.grad(attend_fused(*(x.transpose(1, 2) for x in heads)).sum(), heads))

    assert count(torch.bfloat16) == count(torch.float32) > 0


@pytest.mark.usefixtures("slow")
def test_a_gradient_of_a_gradient_is_refused() -> None:
    given = projected()
    with torch.autocast("cpu", torch.bfloat16):
        found = attend_fused(*(x.transpose(1, 2) for x in given))
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(found.float().sum(), given, create_graph=True)
