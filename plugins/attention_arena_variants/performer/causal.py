"""Causal attention with features of any kind, chunk by chunk.

A query attends to keys before its chunk through their total, the sum of [v, 1] phi(k)^T, and to those of its own chunk
pair by pair. Totals and pairs are kept relative to a running gauge, the largest log scale up to the query: exact, and
no later key can move it. Several chunks are computed at a time, the totals before them as one product with the decays
between chunks. Forward keeps those totals, and backward goes through the chunks in reverse with the gradient of the
total.

Letters beside the usual ones: N rows (batch times heads), M features, C tokens of a chunk, K chunks at a time, and
L = K C tokens in them; a total has V + 1 rows, of the numerator and of the denominator.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attention_arena.layers import first_order, hidden_score, kept_type, untracked, without_autocast
from attention_arena_variants.performer.chunks import empty_heads, plan_walk, put, rows_of, take
from attention_arena_variants.performer.decays import Decays, by_chunk, carry
from attention_arena_variants.performer.linear import Rules, divide, divide_back, hide_scales, take_values


def attend_causally(
    query: Tensor, key: Tensor, value: Tensor, valid: Tensor | None, directions: Tensor, rules: Rules
) -> Tensor:
    """Return heads (B, H, T, V) as `attend_linearly` does, each query seeing keys up to its own position."""
    return _Causal.apply(query, key, value, valid, directions, rules)  # type: ignore[no-any-return, no-untyped-call]


class _Kept(NamedTuple):
    """What forward keeps of the chunks that are computed at a time."""

    befores: Tensor
    """(N K, V + 1, M): totals before each chunk."""
    gauge: Tensor
    """(N, 1, 1): before the first chunk."""
    log_scale: Tensor
    """(N, L, 1): of keys."""
    inverse: Tensor
    """(N K, 1, C): what sums of queries were multiplied by."""


class _Rows(NamedTuple):
    """Some sequences of a batch, N rows of heads."""

    query: Tensor
    """(B, H, T, E), as the key; the value is (B, H, T, V)."""
    key: Tensor
    value: Tensor
    valid: Tensor | None
    """(B, T)."""
    weights: Tensor
    """(N, M, E)."""

    @classmethod
    def of(cls, part: slice, query: Tensor, key: Tensor, value: Tensor, valid: Tensor | None, weights: Tensor) -> _Rows:
        """Take `part` of a batch, under `weights` (H or 1, M, E)."""
        shown = None if valid is None else valid[part]
        return cls(query[part], key[part], value[part], shown, rows_of(weights, query[part]))

    def lowest(self) -> Tensor:
        """Return the gauge (N, 1, 1) before the first token."""
        return self.weights.new_full((len(self.weights), 1, 1), hidden_score(self.weights.dtype))


class _Causal(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        valid: Tensor | None,
        directions: Tensor,
        rules: Rules,
    ) -> Tensor:
        weights = rules.kernel.weights(directions.to(torch.promote_types(query.dtype, torch.float32)))
        walk = plan_walk(query, weights.shape[1] * rules.kernel.n_per_weight, rules.chunk)
        keep_in = kept_type(query, ctx)
        out, kept, recorded = empty_heads(value), list[Tensor](), any(ctx.needs_input_grad)
        with without_autocast(query), nullcontext() if recorded else untracked():
            for part in walk.sequences:
                rows = _Rows.of(part, query, key, value, valid, weights)
                total, gauge = None, rows.lowest()
                for span in walk.positions:
                    here, total, gauge = _write_heads(out[part], rows, span, rules, total, gauge)
                    if recorded:
                        kept += here
        ctx.save_for_backward(*(x.to(keep_in) for x in (query, key, value)), valid, directions, out, *kept)
        ctx.rules, ctx.walk, ctx.dtype = rules, walk, query.dtype
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, valid, directions, out, *tensors = ctx.saved_tensors
        kept = [_Kept(*each) for each in zip(*[iter(tensors)] * len(_Kept._fields), strict=True)]
        weights = ctx.rules.kernel.weights(directions.to(torch.promote_types(query.dtype, torch.float32)))
        grads = [empty_heads(x, ctx.dtype) for x in (query, key, value)]
        with without_autocast(query), untracked():
            for part in reversed(ctx.walk.sequences):
                rows, of_rows = _Rows.of(part, query, key, value, valid, weights), [x[part] for x in grads]
                of_total = None
                for span in reversed(ctx.walk.positions):
                    heads = out[part], grad[part]
                    of_total = _write_gradients(of_rows, rows, span, *heads, kept.pop(), ctx.rules, of_total)
        return (*grads, None, None, None)


def _write_heads(
    out: Tensor, rows: _Rows, span: slice, rules: Rules, total: Tensor | None, gauge: Tensor
) -> tuple[_Kept, Tensor | None, Tensor]:
    """Write heads (B, H, T, V) of some positions, given the total of those before, if any, and its gauge.

    Return what to keep, and the total and the gauge for the positions after, if any.
    """
    C, kernel, work = min(rules.chunk, span.stop - span.start), rules.kernel, gauge.dtype
    keys, log_scale = kernel.stable_and_scale(take(rows.key, span, work), rows.weights)
    log_scale = hide_scales(log_scale, rows.valid, rows.key.shape[1], span)
    decays = Decays.of(log_scale, gauge, C)
    k, v = by_chunk(keys.values, C), by_chunk(take_values(rows.value, rows.valid, span, work), C)
    q = by_chunk(kernel.stable(take(rows.query, span, work), rows.weights).values, C)
    added = torch.bmm((v * decays.key).mT, k)  # (N K, V + 1, M)
    befores = carry(added, decays.between[:, :-1, 1:], total, decays.between[:, :-1, :1])
    sums = torch.bmm(befores, q.mT).mul_(decays.past.mT)  # (N K, V + 1, C)
    sums += torch.bmm(v.mT, torch.bmm(q, k.mT).mul_(decays.pair).mT)
    heads, inverse = divide(sums, rules.least)
    put(out, span, heads.mT)
    if span.stop < rows.key.shape[2]:
        total = carry(added, decays.between[:, -1:, 1:], total, decays.between[:, -1:, :1])
    return _Kept(befores, gauge, log_scale, inverse), total, decays.gauge


def _write_gradients(
    grads: list[Tensor],
    rows: _Rows,
    span: slice,
    out: Tensor,
    grad: Tensor,
    kept: _Kept,
    rules: Rules,
    of_total: Tensor | None,
) -> Tensor | None:
    """Write `grads`, of query, key and value (B, H, T, ...), at some positions, given those of heads.

    `of_total` is the gradient of the total after them, if any; return that of the total before.
    """
    C, kernel, weights, work = min(rules.chunk, span.stop - span.start), rules.kernel, rows.weights, kept.inverse.dtype
    decays = Decays.of(kept.log_scale, kept.gauge, C)
    raw_q, raw_k = take(rows.query, span, work), take(rows.key, span, work)
    queries, keys = kernel.stable(raw_q, weights), kernel.stable(raw_k, weights)
    q, k = by_chunk(queries.values, C), by_chunk(keys.values, C)
    v = by_chunk(take_values(rows.value, rows.valid, span, work), C)
    of_out, mixed = (by_chunk(take(x, span, work), C) for x in (grad, out))
    of_sums = divide_back(of_out, mixed, kept.inverse.mT, rules.least)  # (N K, C, V + 1)
    of_past = of_sums * decays.past
    pairs = torch.bmm(q, k.mT).mul_(decays.pair)
    of_pairs = torch.bmm(of_sums, v.mT).mul_(decays.pair)
    of_q = torch.bmm(of_pairs, k).baddbmm_(of_past, kept.befores)
    of_befores = torch.bmm(of_past.mT, q)  # (N K, V + 1, M)
    by, last = decays.between[:, :-1].mT, decays.between[:, -1:].mT
    afters = carry(of_befores, by[:, 1:], of_total, last[:, 1:])
    of_k = torch.bmm(of_pairs.mT, q).baddbmm_(v * decays.key, afters)
    of_v = torch.bmm(k, afters[:, :-1].mT).mul_(decays.key).baddbmm_(pairs.mT, of_sums[..., :-1])
    put(grads[0], span, kernel.pull(raw_q, weights, queries, of_q.view_as(queries.values)))
    put(grads[1], span, kernel.pull(raw_k, weights, keys, of_k.view_as(keys.values)))
    put(grads[2], span, of_v)
    return carry(of_befores, by[:, :1], of_total, last[:, :1]) if span.start else None
