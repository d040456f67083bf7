"""Bidirectional attention with exponential features, as two softmaxes.

With h_jf = w_f . k_j - |k_j|^2 / 2, the attention of the features exp(h) is

    out_i = sum_f softmax_f(w_f . q_i + mass_f) mean_f
    mass_f = log sum_j exp(h_jf),  mean_f = sum_j softmax_j(h_jf) v_j

Each feature holds a mean of the values and its logarithmic mass, and a query mixes the means. That is the paper's
phi(Q) (phi(K)^T V) over its denominator, term by term, with every exponential inside a softmax: nothing overflows, no
denominator vanishes, and there is no stabiliser to choose. Features exist for some positions at a time, and backward
computes them again.

Letters beside the usual ones: N rows (batch times heads), C tokens of a chunk, M features.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from attention_arena.layers import first_order, hidden_score, without_autocast
from attention_arena_variants.performer.chunks import (
    empty_heads,
    plan_walk,
    put,
    rows_of,
    take,
    take_hidden,
    with_column,
)
from attention_arena_variants.performer.features import Exponential
from attention_arena_variants.performer.linear import hide_gradients


def attend_by_mixture(
    query: Tensor, key: Tensor, value: Tensor, valid: Tensor | None, directions: Tensor, kernel: Exponential
) -> Tensor:
    """Return heads (B, H, T, V) of query and key (B, H, T, E), value (B, H, T, V) and directions (H or 1, m, E).

    Keys outside `valid` (B, T) have no weight; where none is left, heads are zero. `kernel` must have no eps.
    """
    assert kernel.as_mixture
    return _Mixture.apply(query, key, value, valid, directions, kernel)  # type: ignore[no-any-return, no-untyped-call]


class _Summary(NamedTuple):
    """What the features hold of all keys."""

    mean: Tensor
    """(N, M, V): mean of the values under each feature."""
    mass: Tensor
    """(N, M, 1): logarithm of the feature's sum over keys."""


class _Mixture(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        valid: Tensor | None,
        directions: Tensor,
        kernel: Exponential,
    ) -> Tensor:
        work = torch.promote_types(query.dtype, torch.float32)
        weights = kernel.weights(directions.to(work))
        walk = plan_walk(query, weights.shape[1])
        out, mass = empty_heads(value, value.shape[-1]), query.new_empty(*query.shape[:3], 1, dtype=work)
        summaries: list[Tensor] = []
        with without_autocast(query):
            for rows in walk.sequences:
                here = rows_of(weights, query[rows])
                hidden = None if valid is None else valid[rows]
                summary = _summarise(key[rows], value[rows], hidden, here, kernel, walk.positions)
                _mix(query[rows], summary, here, walk.positions, out[rows], mass[rows])
                summaries += summary
        ctx.save_for_backward(query, key, value, valid, directions, out, mass, *summaries)
        ctx.kernel, ctx.walk = kernel, walk
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, valid, directions, out, mass, *kept = ctx.saved_tensors
        kernel, positions = ctx.kernel, ctx.walk.positions
        weights = kernel.weights(directions.to(mass.dtype))
        grads = [empty_heads(x, x.shape[-1]) for x in (query, key, value)]
        with without_autocast(query):
            for turn, rows in enumerate(ctx.walk.sequences):
                here, summary = rows_of(weights, query[rows]), _Summary(*kept[2 * turn : 2 * turn + 2])
                of_query, of_key, of_value = (x[rows] for x in grads)
                mixed = out[rows], mass[rows], grad[rows]
                of_summary = _mix_back(query[rows], *mixed, summary, here, positions, of_query)
                hidden = None if valid is None else valid[rows]
                inputs = key[rows], value[rows], hidden
                _summarise_back(*inputs, summary, of_summary, here, kernel, positions, of_key, of_value)
        return (*hide_gradients(grads, valid), None, None, None)


def _summarise(
    key: Tensor, value: Tensor, valid: Tensor | None, weights: Tensor, kernel: Exponential, positions: list[slice]
) -> _Summary:
    """Gather keys (B, H, T, E) and values (B, H, T, V) under `weights` (N, M, E), chunk by chunk."""
    to_exponent = with_column(with_column(weights, 1.0), 0.0)
    summary = None
    for chunk in positions:
        keys, values = _take_keys(key, valid, chunk, kernel, weights.dtype), _take_values(value, valid, chunk, weights)
        found, added = _average(torch.bmm(to_exponent, keys.mT), values)
        summary = _Summary(found, added) if summary is None else _merge(summary, found, added)
    assert summary is not None
    return summary


def _merge(summary: _Summary, found: Tensor, added: Tensor) -> _Summary:
    """Return the summary with means (N, M, V) and masses (N, M, 1) of more keys; writes over all of them."""
    mass = torch.logaddexp(summary.mass, added)
    return _Summary(summary.mean.lerp_(found, added.sub_(mass).exp_()), mass)


def _mix(query: Tensor, summary: _Summary, weights: Tensor, positions: list[slice], out: Tensor, mass: Tensor) -> None:
    """Write what each query (B, H, T, E) mixes into `out` (B, H, T, V), its logarithmic mass into `mass`."""
    to_exponent = with_column(weights, summary.mass).mT
    for chunk in positions:
        queries = with_column(take(query, chunk, weights.dtype), 1.0)
        mixed, mass_here = _average(torch.bmm(queries, to_exponent), summary.mean)
        put(out, chunk, mixed)
        put(mass, chunk, mass_here)


def _average(exponent: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean (N, X, V) of values (N, Y, V) under exp of `exponent` (N, X, Y), and the logarithm of its sum.

    Writes over `exponent`.
    """
    highest = exponent.amax(-1, keepdim=True)
    weights = exponent.sub_(highest).exp_()
    total = weights.sum(-1, keepdim=True)
    return torch.bmm(weights, values).div_(total), total.log_().add_(highest)


def _mix_back(
    query: Tensor,
    out: Tensor,
    mass: Tensor,
    grad: Tensor,
    summary: _Summary,
    weights: Tensor,
    positions: list[slice],
    grad_query: Tensor,
) -> tuple[Tensor, Tensor]:
    """Write the gradient of the query; return those of the means (N, M, V) and of the masses (N, M, 1)."""
    work = weights.dtype
    grad_mean, grad_mass = torch.zeros_like(summary.mean), torch.zeros_like(summary.mass)
    to_exponent = torch.cat([weights, summary.mass, -torch.ones_like(grad_mass)], dim=-1).mT
    to_grad = with_column(summary.mean, -1.0).mT
    for chunk in positions:
        mass_here = take(mass, chunk, work)
        queries = torch.cat([take(query, chunk, work), torch.ones_like(mass_here), mass_here], dim=-1)
        shares = _shares(queries, to_exponent)  # (N, C, M)
        of_out = take(grad, chunk, work)
        along = (of_out * take(out, chunk, work)).sum(-1, keepdim=True)
        grad_mean.baddbmm_(shares.mT, of_out)
        of_exponent = torch.bmm(with_column(of_out, along), to_grad).mul_(shares)
        grad_mass += of_exponent.sum(1).unsqueeze(-1)
        put(grad_query, chunk, torch.bmm(of_exponent, weights))
    return grad_mean, grad_mass


def _summarise_back(
    key: Tensor,
    value: Tensor,
    valid: Tensor | None,
    summary: _Summary,
    of_summary: tuple[Tensor, Tensor],
    weights: Tensor,
    kernel: Exponential,
    positions: list[slice],
    grad_key: Tensor,
    grad_value: Tensor,
) -> None:
    """Write the gradients of key and value."""
    of_mean, of_mass = of_summary
    to_exponent = torch.cat([weights, torch.ones_like(of_mass), -summary.mass], dim=-1)
    to_grad = with_column(of_mean, of_mass - (summary.mean * of_mean).sum(-1, keepdim=True))
    for chunk in positions:
        keys = _take_keys(key, valid, chunk, kernel, weights.dtype)
        shares = _shares(to_exponent, keys.mT)  # (N, M, C)
        put(grad_value, chunk, torch.bmm(shares.mT, of_mean))
        values = with_column(_take_values(value, valid, chunk, weights), 1.0)
        of_exponent = torch.bmm(to_grad, values.mT).mul_(shares)
        of_key = torch.bmm(of_exponent.mT, weights)
        if kernel.curvature:
            of_key.addcmul_(keys[..., :-2], of_exponent.sum(1).unsqueeze(-1), value=-kernel.curvature)
        put(grad_key, chunk, of_key)


def _take_keys(key: Tensor, valid: Tensor | None, chunk: slice, kernel: Exponential, dtype: torch.dtype) -> Tensor:
    """Return keys (N, C, E + 2), with their part of the exponent that all features share, and a one.

    A hidden key is 0, its exponent the lowest: finite, so that no difference is NaN where all keys are hidden.
    """
    k = take(key, chunk, dtype)
    bias = kernel.norm_term(k)
    hidden = take_hidden(valid, key.shape[1], chunk)
    if hidden is not None:
        k, bias = k.masked_fill(hidden, 0.0), bias.masked_fill_(hidden, hidden_score(dtype))
    return torch.cat([k, bias, torch.ones_like(bias)], dim=-1)


def _take_values(value: Tensor, valid: Tensor | None, chunk: slice, like: Tensor) -> Tensor:
    """Return values (N, C, V) in the dtype of `like`, zero where a key is hidden."""
    v, hidden = take(value, chunk, like.dtype), take_hidden(valid, value.shape[1], chunk)
    return v if hidden is None else v.masked_fill(hidden, 0.0)


def _shares(left: Tensor, right: Tensor) -> Tensor:
    """Return exp of a product (N, X, Y) that holds exponents less their logarithmic mass."""
    # No share is above 1, but for rounding where exponents are huge.
    return torch.bmm(left, right).clamp_(max=0.0).exp_()
