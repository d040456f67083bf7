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
from torch.autograd.function import once_differentiable

from attention_arena_variants.performer.chunks import (
    empty_heads,
    plan_walk,
    put,
    rows_of,
    take,
    take_hidden,
    without_autocast,
)
from attention_arena_variants.performer.features import Exponential


def attend_by_mixture(
    query: Tensor, key: Tensor, value: Tensor, valid: Tensor | None, directions: Tensor, kernel: Exponential
) -> Tensor:
    """Return heads (B, H, T, V) of query and key (B, H, T, E), value (B, H, T, V) and directions (H or 1, m, E).

    Keys outside `valid` (B, T) have no weight; where none is left, heads are zero. `kernel` must have no eps.
    """
    assert not kernel.eps
    return _Mixture.apply(query, key, value, valid, directions, kernel)  # type: ignore[no-any-return, no-untyped-call]


class _Summary(NamedTuple):
    """What the features hold of all keys."""

    mean: Tensor
    """(N, M, V): mean of the values under each feature."""
    mass: Tensor
    """(N, M, 1): logarithm of the feature's sum over keys."""
    masses: Tensor
    """(K, N, M, 1): the same of each of K chunks."""


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
        out = empty_heads(value, value.shape[-1])
        summaries = []
        with without_autocast(query):
            for rows in walk.sequences:
                here = rows_of(weights, query[rows])
                hidden = None if valid is None else valid[rows]
                summary = _summarise(key[rows], value[rows], hidden, here, kernel, walk.positions)
                _mix(query[rows], summary, here, walk.positions, out[rows])
                summaries.append(summary)
        ctx.save_for_backward(query, key, value, valid, directions, out, *(part for kept in summaries for part in kept))
        ctx.kernel, ctx.walk = kernel, walk
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, valid, directions, out, *kept = ctx.saved_tensors
        kernel, positions = ctx.kernel, ctx.walk.positions
        weights = kernel.weights(directions.to(kept[0].dtype))
        grads = [empty_heads(x, x.shape[-1]) for x in (query, key, value)]
        with without_autocast(query):
            for turn, rows in enumerate(ctx.walk.sequences):
                here, summary = rows_of(weights, query[rows]), _Summary(*kept[3 * turn : 3 * turn + 3])
                of_query, of_key, of_value = (x[rows] for x in grads)
                of_summary = _mix_back(query[rows], summary, here, positions, out[rows], grad[rows], of_query)
                hidden = None if valid is None else valid[rows]
                inputs = key[rows], value[rows], hidden
                _summarise_back(*inputs, summary, of_summary, here, kernel, positions, of_key, of_value)
        return (*grads, None, None, None)


def _summarise(
    key: Tensor, value: Tensor, valid: Tensor | None, weights: Tensor, kernel: Exponential, positions: list[slice]
) -> _Summary:
    """Gather keys (B, H, T, E) and values (B, H, T, V) under `weights` (N, M, E), chunk by chunk."""
    masses = []
    for chunk in positions:
        k, v, bias = _take_keys(key, value, valid, weights.dtype, kernel, chunk)
        exponent = torch.baddbmm(bias.mT, weights, k.mT)  # (N, M, C)
        highest = exponent.amax(-1, keepdim=True)
        shares = torch.softmax(exponent, -1, out=exponent)
        # The largest of a softmax is one over its sum of exponentials.
        masses.append(highest.sub_(shares.amax(-1, keepdim=True).log_()))
        found = torch.bmm(shares, v)
        if len(masses) == 1:
            mean, mass = found, highest
        else:
            mass = torch.logaddexp(mass, highest)
            mean.lerp_(found, (highest - mass).exp_())
    return _Summary(mean, mass, torch.stack(masses))


def _mix(query: Tensor, summary: _Summary, weights: Tensor, positions: list[slice], out: Tensor) -> None:
    """Write into `out` (B, H, T, V) what each query (B, H, T, E) mixes."""
    for chunk in positions:
        shares = _share_features(take(query, chunk, weights.dtype), weights, summary)
        put(out, chunk, torch.bmm(shares, summary.mean))


def _mix_back(
    query: Tensor,
    summary: _Summary,
    weights: Tensor,
    positions: list[slice],
    out: Tensor,
    grad: Tensor,
    grad_query: Tensor,
) -> tuple[Tensor, Tensor]:
    """Write the gradient of the query; return those of the means (N, M, V) and of the masses (N, M, 1)."""
    work = weights.dtype
    grad_mean, grad_mass = torch.zeros_like(summary.mean), torch.zeros_like(summary.mass)
    for chunk in positions:
        shares = _share_features(take(query, chunk, work), weights, summary)  # (N, C, M)
        of_out = take(grad, chunk, work)
        along = (of_out * take(out, chunk, work)).sum(-1, keepdim=True)
        grad_mean.baddbmm_(shares.mT, of_out)
        of_exponent = torch.baddbmm(-along, of_out, summary.mean.mT).mul_(shares)
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
    of_rest = of_mass - (summary.mean * of_mean).sum(-1, keepdim=True)  # (N, M, 1)
    for chunk, mass in zip(positions, summary.masses, strict=True):
        k, v, bias = _take_keys(key, value, valid, weights.dtype, kernel, chunk)
        exponent = torch.baddbmm(bias.mT, weights, k.mT)
        shares = torch.softmax(exponent, -1, out=exponent)  # (N, M, C), of the chunk's own mass
        weight = (mass - summary.mass).exp_()  # of the chunk in the whole
        of_share = of_mean * weight
        put(grad_value, chunk, torch.bmm(shares.mT, of_share))
        of_exponent = torch.baddbmm(of_rest * weight, of_share, v.mT).mul_(shares)
        of_key = torch.bmm(of_exponent.mT, weights)
        if kernel.curvature:
            of_key.addcmul_(k, of_exponent.sum(1).unsqueeze(-1), value=-kernel.curvature)
        put(grad_key, chunk, of_key)
        if valid is not None:
            grad_value[:, :, chunk].masked_fill_(~valid[:, None, chunk, None], 0.0)


def _take_keys(
    key: Tensor, value: Tensor, valid: Tensor | None, dtype: torch.dtype, kernel: Exponential, chunk: slice
) -> tuple[Tensor, Tensor, Tensor]:
    """Return keys (N, C, E), values (N, C, V) and what is added to the exponent of a key (N, C, 1)."""
    k, v = take(key, chunk, dtype), take(value, chunk, dtype)
    bias = kernel.norm_term(k)
    hidden = take_hidden(valid, key.shape[1], chunk)
    if hidden is None:
        return k, v, bias
    # Finite, so that no difference is NaN where all keys are hidden; the values make that case zero.
    return k, v.masked_fill(hidden, 0.0), bias.masked_fill_(hidden, torch.finfo(dtype).min / 4)


def _share_features(query: Tensor, weights: Tensor, summary: _Summary) -> Tensor:
    """Return how a query (N, C, E) divides itself between features (N, C, M)."""
    exponent = torch.baddbmm(summary.mass.mT, query, weights.mT)
    return torch.softmax(exponent, -1, out=exponent)
