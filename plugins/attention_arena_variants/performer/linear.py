"""Bidirectional attention with features of any kind: phi(Q) (phi(K)^T [V, 1]), numerator over denominator.

Sums over keys are kept relative to a gauge, the largest log scale among the keys: exact, because numerator and
denominator share it. Features exist for some positions at a time, and backward computes them again. Positive features
have a better form in `mixture`; this one serves trigonometric and pointwise ones, and positive ones with an epsilon.

Letters beside the usual ones: N rows (batch times heads), C tokens of a chunk, M features; a total has V + 1 rows, of
the numerator and of the denominator.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from attention_arena.layers import first_order, hidden_score, kept_type, without_autocast
from attention_arena_variants.performer.chunks import (
    empty_heads,
    plan_walk,
    put,
    rows_of,
    take,
    take_hidden,
    with_column,
)
from attention_arena_variants.performer.features import FeatureMap


def least_in(dtype: torch.dtype) -> float:
    """Return the least denominator of features that are never negative, 1e-30 in float32.

    That is far enough from the end of the type's range that gradients, which are divided by it, stay inside.
    """
    return float(torch.finfo(dtype).tiny ** 0.79)


class Rules(NamedTuple):
    """How to attend, beside the tensors."""

    kernel: FeatureMap
    least: float
    """Least absolute denominator, of features as `FeatureMap.stable` has them; 0: only the range of the type binds."""
    chunk: int = 0
    """Tokens whose pairs a causal form computes one by one."""

    @classmethod
    def of(cls, kernel: FeatureMap, m: int, min_denominator: float, chunk: int = 0) -> Rules:
        """Return rules in which `min_denominator` binds only features, of `m` directions, that may be negative."""
        # Stable features are not divided by sqrt(m), so that their products are m times the kernel.
        return cls(kernel, m * min_denominator if kernel.signed else 0.0, chunk)


def take_values(value: Tensor, valid: Tensor | None, chunk: slice, dtype: torch.dtype) -> Tensor:
    """Return values and ones (N, C, V + 1); zero where a key is hidden, so that it counts in neither sum."""
    ones = with_column(take(value, chunk, dtype), 1.0)
    hidden = take_hidden(valid, value.shape[1], chunk)
    return ones if hidden is None else ones.masked_fill_(hidden, 0.0)


def hide_scales(log_scale: Tensor, valid: Tensor | None, H: int, chunk: slice) -> Tensor:
    """Return `log_scale` (N, C, 1), -inf where a key is hidden, so that it has no weight at any finite gauge."""
    hidden = take_hidden(valid, H, chunk)
    return log_scale if hidden is None else log_scale.masked_fill_(hidden, -torch.inf)


def divide(total: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """Return heads (..., V, C) and inverse denominators (..., 1, C) of `total` (..., V + 1, C).

    A denominator counts as at least `least` in size (0: `least_in` its type), with its sign; one of 0 gives zeros.
    """
    denominator = total[..., -1:, :]
    inverse = denominator.sign().div_(denominator.abs().clamp_(min=least or least_in(total.dtype)))
    return total[..., :-1, :] * inverse, inverse


def divide_back(grad: Tensor, out: Tensor, inverse: Tensor, least: float) -> Tensor:
    """Return the gradient (..., C, V + 1) of sums, given that of heads (..., C, V), heads and inverse (..., C, 1)."""
    along = (grad * out).sum(-1, keepdim=True)
    # Where the denominator was replaced it is a constant; just above, rounding may take it for one.
    along.masked_fill_(inverse.abs() * (least or least_in(inverse.dtype)) > 1 - 1e-5, 0.0)
    return with_column(grad, along.neg_()).mul_(inverse)


def attend_linearly(
    query: Tensor, key: Tensor, value: Tensor, valid: Tensor | None, directions: Tensor, rules: Rules
) -> Tensor:
    """Return heads (B, H, T, V) of query and key (B, H, T, E), value (B, H, T, V) and directions (H or 1, m, E).

    Keys outside `valid` (B, T) have no weight; where none is left, heads are zero.
    """
    return _Linear.apply(query, key, value, valid, directions, rules)  # type: ignore[no-any-return, no-untyped-call]


class _Linear(torch.autograd.Function):
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
        weights = rules.kernel.weights(directions.to(work))
        walk = plan_walk(query, weights.shape[1] * rules.kernel.n_per_weight)
        out = empty_heads(value)
        inverse, log_scale = (query.new_empty(*query.shape[:3], 1, dtype=work) for _ in range(2))
        totals = []
        with without_autocast(query):
            for rows in walk.sequences:
                here, shown = rows_of(weights, query[rows]), None if valid is None else valid[rows]
                scales = log_scale[rows]
                total, gauge = _sum_keys(key[rows], value[rows], shown, here, rules.kernel, walk.positions, scales)
                for chunk in walk.positions:
                    features = rules.kernel.stable(take(query[rows], chunk, work), here)
                    heads, inverse_here = divide(torch.bmm(total, features.values.mT), rules.least)
                    put(out[rows], chunk, heads.mT)
                    put(inverse[rows], chunk, inverse_here.mT)
                totals += [total, gauge]
        keep_in = kept_type(query, ctx)
        heads_again = (x.to(keep_in) for x in (query, key, value))
        ctx.save_for_backward(*heads_again, valid, directions, out, inverse, log_scale, *totals)
        ctx.rules, ctx.walk, ctx.dtype = rules, walk, query.dtype
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, valid, directions, out, inverse, log_scale, *totals = ctx.saved_tensors
        (kernel, least, _), positions, work = ctx.rules, ctx.walk.positions, inverse.dtype
        weights = kernel.weights(directions.to(work))
        grads = [empty_heads(x, ctx.dtype) for x in (query, key, value)]
        with without_autocast(query):
            for turn, rows in enumerate(ctx.walk.sequences):
                here, (total, gauge) = rows_of(weights, query[rows]), totals[2 * turn : 2 * turn + 2]
                of_query, of_key, of_value = (x[rows] for x in grads)
                of_total = torch.zeros_like(total)
                for chunk in positions:
                    q = take(query[rows], chunk, work)
                    features = kernel.stable(q, here)
                    of_out, mixed, inverse_here = (take(x[rows], chunk, work) for x in (grad, out, inverse))
                    of_sums = divide_back(of_out, mixed, inverse_here, least)
                    of_total.baddbmm_(of_sums.mT, features.values)
                    put(of_query, chunk, kernel.pull(q, here, features, torch.bmm(of_sums, total)))
                for chunk in positions:
                    k, shown = take(key[rows], chunk, work), None if valid is None else valid[rows]
                    features = kernel.stable(k, here)
                    factor = (take(log_scale[rows], chunk, work) - gauge).exp_()
                    put(of_value, chunk, torch.bmm(features.values, of_total[:, :-1].mT).mul_(factor))
                    of_features = torch.bmm(take_values(value[rows], shown, chunk, work).mul_(factor), of_total)
                    put(of_key, chunk, kernel.pull(k, here, features, of_features))
        return (*grads, None, None, None)


def _sum_keys(
    key: Tensor,
    value: Tensor,
    valid: Tensor | None,
    weights: Tensor,
    kernel: FeatureMap,
    positions: list[slice],
    scales: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the total (N, V + 1, M) of [v, 1] phi(k)^T and its gauge (N, 1, 1); write log scales (B, H, T, 1)."""
    N, M, _ = weights.shape
    total = weights.new_zeros(N, value.shape[-1] + 1, M * kernel.n_per_weight)
    gauge = weights.new_full((N, 1, 1), hidden_score(weights.dtype))
    for chunk in positions:
        features, log_scale = kernel.stable_and_scale(take(key, chunk, weights.dtype), weights)
        log_scale = hide_scales(log_scale, valid, key.shape[1], chunk)
        put(scales, chunk, log_scale)
        before, gauge = gauge, torch.maximum(gauge, log_scale.amax(1, keepdim=True))
        summand = take_values(value, valid, chunk, weights.dtype).mul_((log_scale - gauge).exp_())
        total.mul_((before - gauge).exp_()).baddbmm_(summand.mT, features.values)
    return total, gauge
