"""From tokens to slots and back in half precision, where float32 has to compute it: some tokens at a time.

A query, what it finds and the output are products one after the other, each in float32. Rounding in between would cost
passes through memory, so queries and heads are rounded for backward alone.

Letters beside the usual ones: R slots; b rows of a batch and t tokens at a time; N = b t.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attention_arena.layers import first_order, sections, without_autocast
from attention_arena.layers.kernels import FUSED


class Slots(NamedTuple):
    """Keys and values of the slots, (B, R, D) each, and how many heads they have."""

    key: Tensor
    value: Tensor
    n_heads: int


def attend_widely(
    x: Tensor, kept: Tensor | None, to_query: Tensor, slots: Slots, to_out: Tensor, half: torch.dtype
) -> Tensor:
    """Return in `half` the output (B, T, D) of hidden states (B, T, D) that attend to `slots`.

    `to_query` and `to_out` (D, D) are the weights of the projections, `kept` is `kept_of(x)`.
    """
    with without_autocast(x):
        if kept is None:
            return _forward(x, to_query, slots, to_out, _Kept.nothing(), half)
        found: Tensor = _Attend.apply(x, kept, to_query, *slots, to_out, half)  # type: ignore[no-untyped-call]
        return found


class _Kept(NamedTuple):
    """What backward reads again: queries and heads (B, T, D) in half precision, log mass (B, H, T); or nothing."""

    query: Tensor | None
    heads: Tensor | None
    log_mass: Tensor | None

    @classmethod
    def nothing(cls) -> _Kept:
        return cls(None, None, None)

    @classmethod
    def of(cls, x: Tensor, n_heads: int, half: torch.dtype) -> _Kept:
        B, T, _ = x.shape
        query, heads = (torch.empty_like(x, dtype=half) for _ in range(2))
        return cls(query, heads, x.new_empty(B, n_heads, T, dtype=torch.float32))


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        kept: Tensor,
        to_query: Tensor,
        key: Tensor,
        value: Tensor,
        n_heads: int,
        to_out: Tensor,
        half: torch.dtype,
    ) -> Tensor:
        again = _Kept.of(x, n_heads, half)
        out = _forward(x, to_query, Slots(key, value, n_heads), to_out, again, half)
        ctx.save_for_backward(kept, to_query, key, value, to_out, *again)
        ctx.n_heads, ctx.x_type = n_heads, x.dtype
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        with without_autocast(grad):
            return _gradients(ctx, grad)


def _forward(x: Tensor, to_query: Tensor, slots: Slots, to_out: Tensor, again: _Kept, half: torch.dtype) -> Tensor:
    out, attend = torch.empty_like(x, dtype=half), getattr(torch.ops.aten, FUSED.name)
    key, value = (_heads(_wide(part), slots.n_heads) for part in slots[:2])
    of_query, of_out = _wide(to_query).t(), _wide(to_out).t()

    def find(rows: slice, some: slice) -> None:
        query = _wide(x[rows, some]) @ of_query  # (b, t, D)
        found, log_mass = attend(_heads(query, slots.n_heads), key[rows], value[rows])
        heads = found.transpose(1, 2).flatten(2)
        if again.query is not None and again.heads is not None and again.log_mass is not None:
            again.query[rows, some], again.heads[rows, some] = query, heads
            again.log_mass[rows, :, some] = log_mass
        # The query's memory is free again.
        into = query.flatten(0, 1)
        torch.mm(heads.flatten(0, 1), of_out, out=into)
        out[rows, some] = query

    for rows, some in _groups(x):
        find(rows, some)  # A function of its own, so that nothing of one group lives on in the next.
    return out


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    kept, to_query, key, value, to_out, query, heads, log_mass = ctx.saved_tensors
    attend = getattr(torch.ops.aten, FUSED.name + "_backward")
    k, v = (_heads(_wide(part), ctx.n_heads) for part in (key, value))  # (B, H, R, E) each
    of_x, of_key, of_value = torch.empty_like(kept, dtype=ctx.x_type), torch.zeros_like(k), torch.zeros_like(v)
    of_query, of_out = (torch.zeros_like(weight, dtype=torch.float32) for weight in (to_query, to_out))
    wide_query, wide_out = _wide(to_query), _wide(to_out)

    def of_queries(rows: slice, some: slice) -> Tensor:
        g, h, q = (_wide(part[rows, some]) for part in (grad, heads, query))  # (b, t, D) each
        _add_product(of_out, g, h)
        g = g @ wide_out
        g, q, h = (_heads(part, ctx.n_heads) for part in (g, q, h))
        of_q, of_k, of_v = attend(g, q, k[rows], v[rows], h, log_mass[rows, :, some], 0.0, False)
        of_key[rows] += of_k
        of_value[rows] += of_v
        return of_q.transpose(1, 2).flatten(2)  # type: ignore[no-any-return]

    def find(rows: slice, some: slice) -> None:
        of_q = of_queries(rows, some)
        _add_product(of_query, of_q, _wide(kept[rows, some]))
        of_x[rows, some] = of_q @ wide_query

    for rows, some in _groups(kept):
        find(rows, some)
    of_slots = (total.transpose(1, 2).flatten(2).to(key.dtype) for total in (of_key, of_value))
    return of_x, None, of_query.to(to_query.dtype), *of_slots, None, of_out.to(to_out.dtype), None


def _groups(x: Tensor) -> Iterator[tuple[slice, slice]]:
    """Yield rows of the batch and tokens of `x` (B, T, D) that are worked on together."""
    B, T, D = x.shape
    n_held = 2  # Several such groups of numbers exist at a time.
    yield from itertools.product(sections(B, n_held * T * D), sections(T, n_held * D))


def _heads(x: Tensor, n_heads: int) -> Tensor:
    """Return the view (b, H, t, E) of `x` (b, t, D)."""
    return torch.unflatten(x, -1, (n_heads, -1)).transpose(1, 2)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.float32)


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add to a weight's gradient (F, D) the products of `left` (b, t, F) and `right` (b, t, D)."""
    torch.addmm(total, left.flatten(0, 1).t(), right.flatten(0, 1), out=total)
