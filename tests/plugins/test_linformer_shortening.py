"""The product of Linformer's matrices with a sequence, in half precision on any processor."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attention_arena.flop_counter import count_flops
from attention_arena.layers import half_precision, kept_of
from attention_arena.measures.memory.counting import saved_for_backward
from attention_arena_variants.linformer.shortening import shorten

B, G, R, T, C = 2, 3, 4, 11, 5

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")

SLOW = pytest.mark.parametrize("is_fast", [True, False], ids=["fast products", "slow products"])


def operands(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Return matrices (G, R, T) and rows (B, G, T, C) that learn."""
    return [torch.randn(size).to(dtype).requires_grad_() for size in ((G, R, T), (B, G, T, C))]


def passes(given: list[Tensor], autocast: bool) -> list[Tensor]:
    """Return the slots, and the gradients of what is given."""
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        slots = shorten(*given)
    grad = torch.randn(slots.shape, generator=torch.Generator().manual_seed(1)).bfloat16().to(slots.dtype)
    return [slots, *torch.autograd.grad(slots, given, grad)]


@pytest.fixture(autouse=True)
def processor(is_fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that multiplies half precision fast or not; in sections of 2 or 3 positions."""
    monkeypatch.setattr(half_precision, "has_fast_products", lambda dtype, device: is_fast)
    monkeypatch.setattr(half_precision, "NUMBERS_AT_ONCE", 3 * B * G * C)


@SLOW
def test_slots_are_those_of_float64_up_to_what_is_rounded() -> None:
    """Operands and results of order 1 are each rounded by at most 2^-8, in sums of up to 12 products."""
    given = operands()
    exact = passes([part.detach().double().requires_grad_() for part in given], False)
    for found, expected in zip(passes(given, True), exact, strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=12 * 2**-7)


@SLOW
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_tensors_of_half_precision_stay_so(dtype: torch.dtype) -> None:
    given = operands(dtype)
    exact = passes([part.detach().double().requires_grad_() for part in given], False)
    for found, expected in zip(passes(given, False), exact, strict=True):
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), expected, rtol=2**-8, atol=2e-2)


@SLOW
@pytest.mark.parametrize("autocast", [True, False])
def test_a_gradient_of_a_gradient_is_that_of_the_plain_product(autocast: bool) -> None:
    def second(given: list[Tensor], plainly: bool) -> tuple[Tensor, ...]:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast and not plainly):
            slots = given[0] @ given[1] if plainly else shorten(*given)
        first = torch.autograd.grad(slots.double().tanh().sum(), given, create_graph=True)
        return torch.autograd.grad(first[0].square().sum() + first[1].square().sum(), given)

    dtype = torch.float32 if autocast else torch.float64
    given = operands(dtype)
    tolerance = 5e-2 if autocast else 1e-10
    for found, expected in zip(second(given, False), second(given, True), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * expected.abs().max().item())


@SLOW
def test_rows_are_kept_once_in_half_precision(is_fast: bool) -> None:
    """Two products share them; PyTorch's own product also keeps a rounded copy of each matrix."""
    (matrix, rows), (other, _) = operands(), operands()
    with torch.autocast("cpu", torch.bfloat16):
        kept = kept_of(rows)
        found = saved_for_backward(
            lambda: shorten(matrix, rows, kept).sum() + shorten(other, rows, kept).sum(), [matrix, other]
        )
    assert found == 2 * (rows.numel() + (2 * matrix.numel() if is_fast else 0))


@SLOW
def test_flops_do_not_depend_on_the_processor() -> None:
    given = operands(torch.bfloat16)
    count = count_flops(lambda: torch.autograd.grad(shorten(*given).sum(), given))
    assert count == 3 * 2 * B * G * R * T * C
