"""PyTorch's fused attention, as fast in half precision as in float32, on any processor."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from attention_arena.layers.autograd import first_order
from attention_arena.layers.half_precision import kept_type, slow_half
from attention_arena.layers.kernels import FUSED
from attention_arena.layers.scratch import Scratch

NUMBERS_AT_ONCE = 2**18
"""Numbers of query, key or value that are widened at a time: 1 MiB in float32, near enough to a core's cache."""


def attend_fused(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    allowed: Tensor | None = None,
    dropout: float = 0.0,
    causal: bool = False,
) -> Tensor:
    """Return heads (B, H, T, E) of query (B, H, T, E), key and value (B, H, S, E): `scaled_dot_product_attention`.

    `allowed` is bool, broadcastable to (B, H, T, S); None means all pairs. In half precision, by type or by autocast,
    on a processor without fast products of it, attention is computed in float32 of operands as they are; backward keeps
    half precision and does the same, but has no second derivative. Elsewhere, and with `dropout`, which PyTorch's
    kernel for CPUs lacks, it is PyTorch's own function.
    """
    chosen = not dropout and FUSED.serves(query) and torch.backends.cuda.flash_sdp_enabled()  # type: ignore[no-untyped-call]
    if not chosen or torch.compiler.is_compiling() or slow_half(query, key, value) is None:
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=allowed, dropout_p=dropout, is_causal=causal
        )
    return _Fused.apply(query, key, value, allowed, causal)  # type: ignore[no-any-return, no-untyped-call]


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None, causal: bool) -> Tensor:
        attend, scratch = getattr(torch.ops.aten, FUSED.name), Scratch(torch.float32, query.device)
        out = mass = None
        keep_in, added = kept_type(query, ctx), _added(allowed)
        for some in _groups(query, key):
            heads = _widened(scratch, some, query=query, key=key, value=value)
            found, log_mass = attend(*heads, 0.0, causal, attn_mask=_part(added, some))
            out = _enter(out, some, found, query.shape, query.dtype)
            mass = _enter(mass, some, log_mass, query.shape[:3], torch.float32)
        ctx.save_for_backward(*(x.to(keep_in) for x in (query, key, value)), allowed, out, mass)
        ctx.causal, ctx.types = causal, (query.dtype, key.dtype, value.dtype)
        assert out is not None
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, allowed, out, mass = ctx.saved_tensors
        attend, scratch = getattr(torch.ops.aten, FUSED.name + "_backward"), Scratch(torch.float32, query.device)
        gradients: list[Tensor | None] = [None, None, None]
        shapes, added = (query.shape, key.shape, value.shape), _added(allowed)
        for some in _groups(query, key):
            heads = _widened(scratch, some, grad=grad, query=query, key=key, value=value, out=out)
            found = attend(*heads, mass[some], 0.0, ctx.causal, attn_mask=_part(added, some))
            each = zip(gradients, found, shapes, ctx.types, strict=True)
            gradients = [_enter(total, some, part, shape, dtype) for total, part, shape, dtype in each]
        return (*gradients, None, None)


def _groups(query: Tensor, key: Tensor) -> Iterator[tuple[slice, slice]]:
    """Yield rows of the batch and heads that are computed at a time: all if none is converted, or a head per thread."""
    if query.dtype == torch.float32:
        yield slice(None), slice(None)
        return
    B, H, T, E = query.shape
    n = max(torch.get_num_threads(), NUMBERS_AT_ONCE // (max(T, key.shape[2]) * E))
    h = min(n, H)
    b = max(1, n // h)
    for row, head in itertools.product(range(0, B, b), range(0, H, h)):
        yield slice(row, row + b), slice(head, head + h)


def _widened(scratch: Scratch, some: tuple[slice, slice], **heads: Tensor) -> list[Tensor]:
    """Return some rows and heads of each tensor (B, H, T, E) in float32, head by head unless they are all."""
    parts = {name: x[some] for name, x in heads.items()}
    return [
        x if x.dtype == torch.float32 and x.shape == heads[name].shape else scratch(name, *x.shape).copy_(x)
        for name, x in parts.items()
    ]


def _enter(
    total: Tensor | None, some: tuple[slice, slice], found: Tensor, shape: torch.Size, dtype: torch.dtype
) -> Tensor:
    """Return `total` (B, H, T, ...) with what was `found` of some rows and heads, if that is not all there is.

    Like projections, it is laid out token by token.
    """
    if found.shape == shape:
        return found.to(dtype)
    if total is None:
        B, H, T, *rest = shape
        total = torch.empty(B, T, H, *rest, dtype=dtype, device=found.device).transpose(1, 2)
    total[some].copy_(found)
    return total


def _added(allowed: Tensor | None) -> Tensor | None:
    """Return what to add to scores."""
    if allowed is None:
        return None
    return torch.zeros(allowed.shape, device=allowed.device).masked_fill_(~allowed, -torch.inf)


def _part(x: Tensor | None, some: tuple[slice, slice]) -> Tensor | None:
    """Return what some rows and heads have of `x` (B or 1, H or 1, T, S)."""
    if x is None:
        return None
    rows, heads = some
    return x[rows if len(x) > 1 else slice(None), heads if x.shape[1] > 1 else slice(None)]
