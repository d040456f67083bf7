"""Causal attention with features of any kind, chunk by chunk.

A query attends to keys before its chunk through their total, the sum of phi(k) [v, 1]^T, and to those of its own chunk
pair by pair. Totals and pairs are kept relative to a running gauge, the largest log scale up to the query: exact, and
no later key can move it. Several chunks are computed at a time; only their totals are added up in turn. Forward keeps
the total before each chunk, and backward goes through them in reverse with the gradient of the total.

Letters beside the usual ones: N rows (batch times heads), M features, C tokens of a chunk, K chunks at a time, and
L = K C tokens in them; a total has V + 1 columns, of the numerator and of the denominator.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from attention_arena.layers import first_order, hidden_score, without_autocast
from attention_arena_variants.performer.chunks import empty_heads, plan_walk, put, rows_of, take
from attention_arena_variants.performer.linear import (
    Rules,
    divide,
    divide_back,
    hide_gradients,
    hide_scales,
    take_values,
)


class Past(NamedTuple):
    """What a causal form keeps of the tokens so far: of constant size."""

    total: Tensor
    """(N, M, V + 1): sum of phi(k) [v, 1]^T over exp(gauge)."""
    gauge: Tensor
    """(N, 1, 1): the largest log scale so far."""

    @classmethod
    def empty(cls, weights: Tensor, M: int, V: int) -> Past:
        """Return the past of the first token under `weights` (N, ...)."""
        gauge = weights.new_full((len(weights), 1, 1), hidden_score(weights.dtype))
        return cls(weights.new_zeros(len(weights), M, V + 1), gauge)


def attend_causally(
    query: Tensor, key: Tensor, value: Tensor, valid: Tensor | None, directions: Tensor, rules: Rules
) -> Tensor:
    """Return heads (B, H, T, V) as `attend_linearly` does, each query seeing keys up to its own position."""
    return _Causal.apply(query, key, value, valid, directions, rules)  # type: ignore[no-any-return, no-untyped-call]


class _Decays(NamedTuple):
    """Factors, none above 1, that bring sums of several gauges to one."""

    pair: Tensor
    """(N K, C, C): from key to query; 0 for later keys."""
    past: Tensor
    """(N K, C, 1): from before the chunk to the query."""
    key: Tensor
    """(N K, C, 1): from the key to the end of the chunk."""
    whole: Tensor
    """(N, K, 1, 1): from before the chunk to its end."""
    gauge: Tensor
    """(N, 1, 1): at the end of the last chunk."""


def _decays(log_scale: Tensor, gauge: Tensor, C: int) -> _Decays:
    """Return the decays of keys of `log_scale` (N, L, 1) after a past of `gauge` (N, 1, 1)."""
    running = torch.maximum(log_scale.cummax(1).values, gauge)
    ends = running[:, C - 1 :: C]  # (N, K, 1)
    starts = torch.cat([gauge, ends[:, :-1]], dim=1)
    of_chunk = [x.reshape(-1, C, 1) for x in (log_scale, running)]
    start, end = (x.reshape(-1, 1, 1) for x in (starts, ends))
    return _Decays(
        # Exponentials of later keys may be infinite, and are left out.
        pair=(of_chunk[0].mT - of_chunk[1]).exp_().tril_(),
        past=(start - of_chunk[1]).exp_(),
        key=(of_chunk[0] - end).exp_(),
        whole=(starts - ends).exp_().unsqueeze(-1),
        gauge=ends[:, -1:],
    )


def _chunks(x: Tensor, C: int) -> Tensor:
    """Return `x` (N, L, ...) as (N K, C, ...)."""
    return x.reshape(-1, C, x.shape[-1])


def _accumulate(first: Tensor, added: Tensor, decay: Tensor, *, reverse: bool = False) -> tuple[Tensor, Tensor]:
    """Return running totals before each chunk (N K, M, V + 1) and after the last (N, M, V + 1).

    They start as `first` (N, M, V + 1); a chunk multiplies them by its `decay` (N, K, 1, 1) and adds `added`
    (N K, M, V + 1). With `reverse` chunks are passed from the last to the first.
    """
    N, K = decay.shape[:2]
    added = added.view(N, K, *added.shape[1:])
    totals = torch.empty_like(added)
    last = torch.empty_like(first)
    order = [*reversed(range(K))] if reverse else [*range(K)]
    totals[:, order[0]] = first
    for chunk, following in zip(order, [*order[1:], None], strict=True):
        after = last if following is None else totals[:, following]
        torch.addcmul(added[:, chunk], totals[:, chunk], decay[:, chunk], out=after)
    return totals.flatten(0, 1), last


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
        work = torch.promote_types(query.dtype, torch.float32)
        kernel, H = rules.kernel, query.shape[1]
        weights = kernel.weights(directions.to(work))
        M = weights.shape[1] * kernel.n_per_weight
        walk = plan_walk(query, M, rules.chunk)
        out = empty_heads(value, value.shape[-1])
        inverse, log_scale = (query.new_empty(*query.shape[:3], 1, dtype=work) for _ in range(2))
        pasts = []
        with without_autocast(query):
            for rows in walk.sequences:
                here, shown = rows_of(weights, query[rows]), None if valid is None else valid[rows]
                past = Past.empty(here, M, value.shape[-1])
                for span in walk.positions:
                    C = min(rules.chunk, span.stop - span.start)
                    keys, scales = kernel.stable_and_scale(take(key[rows], span, work), here)
                    scales = hide_scales(scales, shown, H, span)
                    put(log_scale[rows], span, scales)
                    k = _chunks(keys.values, C)
                    q = _chunks(kernel.stable(take(query[rows], span, work), here).values, C)
                    v = _chunks(take_values(value[rows], shown, span, work), C)
                    decays = _decays(scales, past.gauge, C)
                    sums = torch.bmm(torch.bmm(q, k.mT).mul_(decays.pair), v)
                    befores, total = _accumulate(past.total, torch.bmm(k.mT, v * decays.key), decays.whole)
                    past = Past(total, decays.gauge)
                    sums.add_(torch.bmm(q, befores).mul_(decays.past))
                    heads, inverse_here = divide(sums, rules.least)
                    put(out[rows], span, heads)
                    put(inverse[rows], span, inverse_here)
                    if any(ctx.needs_input_grad):
                        pasts.append(befores)
        ctx.save_for_backward(query, key, value, valid, directions, out, inverse, log_scale, *pasts)
        ctx.rules, ctx.walk = rules, walk
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, valid, directions, out, inverse, log_scale, *pasts = ctx.saved_tensors
        (kernel, least, chunk), walk, work = ctx.rules, ctx.walk, inverse.dtype
        weights = kernel.weights(directions.to(work))
        grads = [empty_heads(x, x.shape[-1]) for x in (query, key, value)]
        with without_autocast(query):
            for rows in reversed(walk.sequences):
                here, shown = rows_of(weights, query[rows]), None if valid is None else valid[rows]
                of_query, of_key, of_value = (x[rows] for x in grads)
                running = log_scale[rows].cummax(2).values
                of_total = torch.zeros_like(pasts[-1][: len(here)])
                for span in reversed(walk.positions):
                    C = min(chunk, span.stop - span.start)
                    befores = pasts.pop()
                    raw_q, raw_k = take(query[rows], span, work), take(key[rows], span, work)
                    queries, keys = kernel.stable(raw_q, here), kernel.stable(raw_k, here)
                    q, k = _chunks(queries.values, C), _chunks(keys.values, C)
                    v = _chunks(take_values(value[rows], shown, span, work), C)
                    start = span.start
                    gauge = (
                        take(running, slice(start - 1, start), work)
                        if start
                        else here.new_full((len(here), 1, 1), hidden_score(work))
                    )
                    decays = _decays(take(log_scale[rows], span, work), gauge, C)
                    of_out, mixed, inverse_here = (take(x[rows], span, work) for x in (grad, out, inverse))
                    of_sums = _chunks(divide_back(of_out, mixed, inverse_here, least), C)
                    pairs = torch.bmm(q, k.mT).mul_(decays.pair)
                    of_pairs = torch.bmm(of_sums, v.mT).mul_(decays.pair)
                    of_past = of_sums * decays.past
                    of_q = torch.bmm(of_pairs, k).baddbmm_(of_past, befores.mT)
                    afters, of_total = _accumulate(of_total, torch.bmm(q.mT, of_past), decays.whole, reverse=True)
                    of_k = torch.bmm(of_pairs.mT, q).baddbmm_(v * decays.key, afters.mT)
                    of_v = torch.bmm(k, afters[..., :-1]).mul_(decays.key).baddbmm_(pairs.mT, of_sums[..., :-1])
                    put(of_query, span, kernel.pull(raw_q, here, queries, of_q.view_as(queries.values)))
                    put(of_key, span, kernel.pull(raw_k, here, keys, of_k.view_as(keys.values)))
                    put(of_value, span, of_v)
        return (*hide_gradients(grads, valid), None, None, None)
