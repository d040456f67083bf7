"""Linear layers in half precision, on processors that multiply it fast and on those that do not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from attention_arena.flop_counter import count_flops
from attention_arena.layers import Linear, half_precision, kept_of, linear, linear_by_channel
from attention_arena.measures.memory.counting import saved_for_backward

HALVES = pytest.mark.parametrize("half", [torch.bfloat16, torch.float16], ids=str)
D, F = 24, 10

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor without fast products of half precision, that works through 7 rows at a time."""
    monkeypatch.setattr(half_precision, "has_fast_products", lambda dtype, device: False)
    monkeypatch.setattr(half_precision, "NUMBERS_AT_ONCE", 7 * F)


def leaves(*lead: int, with_bias: bool = True, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Return an input (..., D), a weight and a bias that learn."""
    sizes = [(*lead, D), (F, D), *([(F,)] if with_bias else [])]
    return [torch.randn(size).to(dtype).requires_grad_() for size in sizes]


def passes(product: Callable[..., Tensor], given: list[Tensor], half: torch.dtype | None = None) -> list[Tensor]:
    """Return the product, under autocast to `half` if any, and the gradients of what is given.

    The gradient of the product is the same in all types.
    """
    with torch.autocast("cpu", half or torch.bfloat16, enabled=half is not None):
        found = product(*given)
    return [found, *torch.autograd.grad(found, given, gradient_of(found))]


def gradient_of(found: Tensor) -> Tensor:
    """Return a gradient of `found`, the same in all types."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(found.shape, generator=generator).bfloat16().to(found.dtype)


@HALVES
@pytest.mark.parametrize("lead", [(), (16,), (3, 5), (2, 3, 4), (0,)], ids=str)
@pytest.mark.parametrize("with_bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.usefixtures("slow")
def test_autocast_is_pytorchs_up_to_what_it_rounds(half: torch.dtype, lead: tuple[int, ...], with_bias: bool) -> None:
    """Operands, result and gradients are each rounded by at most eps / 2, in sums of 24 products of order 1."""
    given = leaves(*lead, with_bias=with_bias)
    tolerance = 24 * torch.finfo(half).eps
    for found, expected in zip(passes(linear, given, half), passes(functional.linear, given, half), strict=True):
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@HALVES
@pytest.mark.usefixtures("slow")
def test_the_result_is_rounded_once_and_gradients_of_float32_never(half: torch.dtype) -> None:
    """Against float64 of the operands as they are, and of the input as it is kept; 1e-6 is float32's own share."""
    x, weight, _ = given = leaves(16)
    found, *gradients = passes(linear, given, half)
    exact = functional.linear(*(part.detach().double() for part in given))
    torch.testing.assert_close(found.double(), exact, rtol=0.5 * torch.finfo(half).eps + 1e-6, atol=1e-6)
    grad = gradient_of(found).double()
    expected = [grad @ weight.double(), grad.t() @ x.detach().to(half).double(), grad.sum(0)]
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)


@HALVES
@pytest.mark.usefixtures("slow")
def test_tensors_of_half_precision_need_no_autocast(half: torch.dtype) -> None:
    given = leaves(16, dtype=half)
    exact = passes(functional.linear, [part.detach().double().requires_grad_() for part in given])
    for found, expected in zip(passes(linear, given), exact, strict=True):
        assert found.dtype == half
        torch.testing.assert_close(found.double(), expected, rtol=torch.finfo(half).eps, atol=1e-3)


@pytest.mark.parametrize("is_fast", [True, False], ids=["fast", "slow"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_without_half_precision_it_is_pytorchs_bit_for_bit(
    dtype: torch.dtype, is_fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(half_precision, "has_fast_products", lambda dtype, device: is_fast)
    given = leaves(3, 5, dtype=dtype)
    for found, expected in zip(passes(linear, given), passes(functional.linear, given), strict=True):
        assert torch.equal(found, expected)


def test_with_fast_products_it_is_pytorchs_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half_precision, "has_fast_products", lambda dtype, device: True)
    given = leaves(3, 5)
    expected = passes(functional.linear, given, torch.bfloat16)
    for found, other in zip(passes(linear, given, torch.bfloat16), expected, strict=True):
        assert torch.equal(found, other)


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_backward_keeps_no_more_than_the_input_in_half_precision(dtype: torch.dtype) -> None:
    """Under autocast PyTorch's keeps a copy of the weight too; a float32 input is that of the layer before."""
    x, weight, bias = leaves(64, dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16):
        kept = saved_for_backward(lambda: linear(x, weight, bias), [weight])
        native = saved_for_backward(lambda: functional.linear(x, weight, bias), [weight])
        frozen = saved_for_backward(lambda: linear(x, weight.detach(), bias), [weight])
    assert kept == 2 * 64 * D <= native
    assert frozen == 0


@pytest.mark.usefixtures("slow")
def test_products_of_one_input_share_what_is_kept() -> None:
    x, weight, bias = leaves(64)
    with torch.autocast("cpu", torch.bfloat16):
        kept = kept_of(x)
        pair = saved_for_backward(lambda: linear(x, weight, kept=kept).sum() + linear(x, weight, bias, kept).sum(), [])
    assert pair - weight.numel() * 4 == 2 * 64 * D


@pytest.mark.usefixtures("slow")
def test_without_gradients_nothing_is_kept_and_numbers_stay() -> None:
    given = leaves(3, 5)
    with torch.autocast("cpu", torch.bfloat16):
        expected = linear(*given)
        with torch.no_grad():
            assert kept_of(given[0]) is None
            assert torch.equal(linear(*given), expected)


@pytest.mark.usefixtures("slow")
def test_gradients_are_found_for_those_that_learn() -> None:
    given = leaves(3, 5)
    expected = passes(linear, given, torch.bfloat16)[1:]
    for place, gradient in enumerate(expected):
        alone = [part.detach().requires_grad_(other == place) for other, part in enumerate(given)]
        with torch.autocast("cpu", torch.bfloat16):
            found = linear(*alone)
        (one,) = torch.autograd.grad(found, alone[place], gradient_of(found))
        torch.testing.assert_close(one, gradient)


@pytest.mark.usefixtures("slow")
def test_a_gradient_of_a_gradient_is_that_of_float32() -> None:
    """To what bfloat16 holds: the norm of the gradient, differentiated by each of the operands."""

    def second(half: bool) -> list[Tensor]:
        given = [part.detach().requires_grad_() for part in operands]
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            found = linear(*given).float().tanh().sum()
            first = torch.autograd.grad(found, given, create_graph=True)
        return list(torch.autograd.grad(torch.cat([part.flatten() for part in first]).square().sum(), given))

    operands = leaves(6)
    for found, expected in zip(second(True), second(False), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0.05 * expected.abs().max().item())


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("inside", [True, False], ids=["backward under autocast", "backward outside"])
def test_backward_does_not_depend_on_where_it_is_called(inside: bool) -> None:
    given = leaves(3, 5)
    expected = passes(linear, given, torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16, enabled=inside):
        found = passes(linear, given, torch.bfloat16)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("is_fast", [True, False], ids=["fast", "slow"])
def test_by_channel_is_the_same_in_another_layout(is_fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's own product of the operands in the other order may differ by a rounding."""
    monkeypatch.setattr(half_precision, "has_fast_products", lambda dtype, device: is_fast)
    monkeypatch.setattr(half_precision, "NUMBERS_AT_ONCE", 7 * F)
    given = leaves(16, with_bias=False)
    found = passes(lambda x, weight: linear_by_channel(x, weight).t(), given, torch.bfloat16)
    assert linear_by_channel(*given).is_contiguous()
    for one, other in zip(found, passes(partial(linear, wide=True), given, torch.bfloat16), strict=True):
        torch.testing.assert_close(one, other)


@HALVES
@pytest.mark.usefixtures("slow")
def test_a_wide_result_is_not_rounded(half: torch.dtype) -> None:
    """Under autocast alone: tensors of half precision give their own type. Gradients are those of a rounded one."""
    given = leaves(16)
    found, *gradients = passes(partial(linear, wide=True), given, half)
    torch.testing.assert_close(found, functional.linear(*given), rtol=1e-5, atol=1e-5)
    _, *others = passes(linear, given, half)
    for one, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    assert linear(*leaves(16, dtype=half), wide=True).dtype == half


@pytest.mark.usefixtures("slow")
def test_an_input_that_others_keep_too_is_kept_as_it_is() -> None:
    layer, x = Linear(D, F, wide=True, shares=True), torch.randn(16, D, requires_grad=True)
    sizes = []
    for shares in (True, False):
        layer.shares = shares

        def pass_through() -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return layer(x)  # type: ignore[no-any-return]

        sizes.append(saved_for_backward(pass_through, layer.parameters()))
    assert sizes == [4 * 16 * D, 2 * 16 * D]


@pytest.mark.usefixtures("slow")
def test_flops_are_pytorchs_also_where_there_are_shapes_alone() -> None:
    def count(product: Callable[..., Tensor], device: str) -> int:
        given = [part.detach().bfloat16().to(device).requires_grad_() for part in leaves(40)]
        return count_flops(lambda: torch.autograd.grad(product(*given).sum(), given))

    for device in ("cpu", "meta"):
        assert count(linear, device) == count(functional.linear, device) == 3 * 2 * 40 * D * F


def test_the_layer_starts_and_is_stored_as_pytorchs() -> None:
    torch.manual_seed(3)
    ours = Linear(D, F)
    torch.manual_seed(3)
    theirs = nn.Linear(D, F)
    assert isinstance(ours, nn.Linear)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = torch.randn(2, 3, D)
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.usefixtures("slow")
def test_a_layer_that_is_traced_has_the_same_numbers() -> None:
    layer, x = Linear(D, F), torch.randn(5, D)
    traced = torch.compile(layer, backend="eager")
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(traced(x), layer(x))


@pytest.mark.usefixtures("slow")
def test_operands_that_do_not_fit_are_refused_as_by_pytorch() -> None:
    x, weight, _ = leaves(5)
    with pytest.raises(RuntimeError, match="dtype"):
        linear(x.bfloat16(), weight)
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(RuntimeError, match="shapes"):
        linear(x[:, 1:], weight)
