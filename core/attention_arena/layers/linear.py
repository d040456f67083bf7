"""Linear layers that are as fast in half precision as in float32, on any processor.

Letters beside the usual ones: N rows, all positions of a batch; D numbers in, F numbers out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from attention_arena.layers.autograd import without_autocast
from attention_arena.layers.half_precision import sections, slow_half
from attention_arena.layers.scratch import Scratch


class Linear(nn.Linear):
    """PyTorch's linear layer, through `linear`. It `shares` its input with what keeps it as it is, and so does too."""

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, wide: bool = False, shares: bool = False
    ) -> None:
        super().__init__(in_features, out_features, bias)
        self.wide, self.shares = wide, shares

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - PyTorch's name
        """Map `input` (..., D) to (..., F)."""
        return linear(input, self.weight, self.bias, input if self.shares else None, wide=self.wide)


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, kept: Tensor | None = None, *, wide: bool = False
) -> Tensor:
    """Return `x` (..., D) times the transpose of `weight` (F, D), plus `bias` (F,): `functional.linear`.

    In half precision, by type or by autocast, on a processor without fast products of it: operands are multiplied and
    summed in float32 as they are, and the result is rounded once. Under autocast a `wide` result is not rounded: what
    takes it must keep it for backward in `kept_type`, or not at all. Backward keeps `x` in half precision and does the
    same; gradients of float32 tensors are not rounded. Elsewhere it is PyTorch's own function. `kept` is `kept_of(x)`,
    where several products share it.
    """
    half = slow_half(x, weight) if bias is None else slow_half(x, weight, bias)
    if half is None or x.dim() == 0:
        return functional.linear(x if kept is None else kept, weight, bias)
    types = _Types.of(x, weight, half, wide)
    if x.dim() == 2:
        return _multiply(x, kept, weight, bias, types)
    rows, kept_rows = x.reshape(-1, x.shape[-1]), None if kept is None else kept.reshape(-1, x.shape[-1])
    return _multiply(rows, kept_rows, weight, bias, types).view(*x.shape[:-1], -1)


def linear_by_channel(x: Tensor, weight: Tensor) -> Tensor:
    """Return the wide `linear(x, weight)` of `x` (N, D) and `weight` (F, D) laid out channel by channel, (F, N)."""
    half = slow_half(x, weight)
    if half is None:
        return functional.linear(weight, x)
    return _multiply(x, None, weight, None, _Types.of(x, weight, half, True), by_channel=True).t()


class _Types(NamedTuple):
    """In which types a product is returned, and its argument kept."""

    result: torch.dtype
    kept: torch.dtype

    @classmethod
    def of(cls, x: Tensor, weight: Tensor, half: torch.dtype, wide: bool) -> _Types:
        return cls(torch.promote_types(x.dtype, weight.dtype) if wide else half, half)


def _multiply(
    x: Tensor, kept: Tensor | None, weight: Tensor, bias: Tensor | None, types: _Types, by_channel: bool = False
) -> Tensor:
    """Return the product (N, F); in memory (F, N) if `by_channel`.

    Autocast leaves products with an `out` alone.
    """
    if torch.compiler.is_compiling():
        with without_autocast(x):
            return functional.linear(*_wide(x, weight, bias)).to(types.result)
    if not torch.is_grad_enabled():
        return _forward(x, weight, bias, types.result, by_channel)
    if kept is None and weight.requires_grad:
        kept = x.to(types.kept)
    return _Linear.apply(x, kept, weight, bias, types.result, by_channel)  # type: ignore[no-any-return, no-untyped-call]


class _Linear(torch.autograd.Function):
    """What backward keeps of `x` is an argument, so that a gradient of a gradient reaches `x` through it."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        kept: Tensor | None,
        weight: Tensor,
        bias: Tensor | None,
        result: torch.dtype,
        by_channel: bool,
    ) -> Tensor:
        ctx.save_for_backward(kept, weight)
        ctx.types = x.dtype, None if bias is None else bias.dtype
        return _forward(x, weight, bias, result, by_channel)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        find = _gradients_plainly if torch.is_grad_enabled() else _gradients
        with without_autocast(grad):
            of_x, of_weight, of_bias = find(ctx, grad, *ctx.saved_tensors)
        return of_x, None, of_weight, of_bias, None, None


def _forward(x: Tensor, weight: Tensor, bias: Tensor | None, result: torch.dtype, by_channel: bool) -> Tensor:
    """Return the product; rows that are converted go in sections, so that float32 copies are small."""
    N, F, scratch = len(x), len(weight), Scratch(torch.float32, x.device)
    out = x.new_empty(F, N, dtype=result).t() if by_channel else x.new_empty(N, F, dtype=result)
    wide_weight, wide_bias = _wide(weight, bias)
    for some in _sections(x, out):
        into, wide = out[some], _widened(scratch, "x", x[some])
        product = into if result == torch.float32 else _laid_out_like(into, scratch, "out")
        if bias is None:
            torch.mm(wide, wide_weight.t(), out=product)
        else:
            torch.addmm(wide_bias, wide, wide_weight.t(), out=product)
        if product is not into:
            into.copy_(product)
    return out


def _gradients(ctx: Any, grad: Tensor, kept: Tensor | None, weight: Tensor) -> tuple[Tensor | None, ...]:
    """Return the gradients of input, weight and bias, given that of the result (N, F)."""
    needs_x, _, needs_weight, needs_bias, *_ = ctx.needs_input_grad
    scratch, (x_type, bias_type) = Scratch(torch.float32, grad.device), ctx.types
    of_x = grad.new_empty(len(grad), weight.shape[1], dtype=x_type) if needs_x else None
    at_once = grad.dtype == x_type == torch.float32
    of_weight = torch.zeros_like(weight, dtype=torch.float32) if needs_weight else None
    of_bias = grad.new_zeros(len(weight), dtype=torch.float32) if needs_bias else None
    wide_weight = weight.to(torch.float32)
    if of_x is not None and at_once:
        torch.mm(grad, wide_weight, out=of_x)
    for some in sections(*grad.shape):
        wide = _widened(scratch, "grad", grad[some])
        if of_x is not None and not at_once:
            product = of_x[some] if x_type == torch.float32 else scratch("of_x", *of_x[some].shape)
            torch.mm(wide, wide_weight, out=product)
            if product.dtype != x_type:
                of_x[some].copy_(product)
        if of_weight is not None and kept is not None:
            # Not in place by name, because the counter of FLOPs does not know that operator.
            torch.addmm(of_weight, wide.t(), _widened(scratch, "x", kept[some]), out=of_weight)
        if of_bias is not None:
            of_bias.add_(wide.sum(0))
    return of_x, _typed(of_weight, weight.dtype), _typed(of_bias, bias_type)


def _gradients_plainly(ctx: Any, grad: Tensor, kept: Tensor | None, weight: Tensor) -> tuple[Tensor | None, ...]:
    """Return the same, in operations that autograd may differentiate."""
    needs_x, _, needs_weight, needs_bias, *_ = ctx.needs_input_grad
    wide, wide_kept, wide_weight = _wide(grad, kept, weight)
    return (
        _typed(wide @ wide_weight, ctx.types[0]) if needs_x else None,
        _typed(wide.t() @ wide_kept, weight.dtype) if needs_weight else None,
        _typed(wide.sum(0), ctx.types[1]) if needs_bias else None,
    )


def _sections(x: Tensor, result: Tensor) -> Iterator[slice]:
    """Return slices of rows; all at once where neither side is converted."""
    is_wide = x.dtype == result.dtype == torch.float32
    return iter([slice(None)]) if is_wide else sections(len(x), max(x.shape[1], result.shape[1]))


def _laid_out_like(x: Tensor, scratch: Scratch, name: str) -> Tensor:
    """Return scratch memory of the shape of a matrix, by columns if that is by columns."""
    return scratch(name, *x.shape) if x.stride(1) == 1 else scratch(name, *x.t().shape).t()


def _widened(scratch: Scratch, name: str, x: Tensor) -> Tensor:
    """Return a matrix in float32, in scratch memory if it is not."""
    return x if x.dtype == torch.float32 else _laid_out_like(x, scratch, name).copy_(x)


def _wide(*tensors: Tensor | None) -> list[Any]:
    return [_typed(x, torch.float32) for x in tensors]


def _typed(x: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if x is None else x.to(dtype)
