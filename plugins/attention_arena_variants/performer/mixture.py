"""Bidirectional attention with exponential features, as two softmaxes.

With h_jf = w_f . k_j - |k_j|^2 / 2, the attention of the features exp(h) is

    out_i = sum_f softmax_f(w_f . q_i + mass_f) mean_f
    mass_f = log sum_j exp(h_jf),  mean_f = sum_j softmax_j(h_jf) v_j

Each feature holds a mean of the values and its logarithmic mass, and a query mixes the means. That is the paper's
phi(Q) (phi(K)^T V) over its denominator, term by term, with every exponential inside a softmax: nothing overflows, no
denominator vanishes, and there is no stabiliser to choose. Each of the two is attention as fused kernels compute it, to
and from the directions. Backward computes the features again, for some positions at a time, and once for both: what a
fused kernel would add for directions, which have no gradient, is left out.

Letters beside the usual ones: N rows (batch times heads), C tokens of a chunk, M features.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from attention_arena.layers import first_order, hidden_score, kept_type, untracked, without_autocast
from attention_arena.layers.kernels import FUSED, PlainKernel, Rows
from attention_arena_variants.performer.chunks import empty_heads, plan_walk, put, rows_of, take, with_column
from attention_arena_variants.performer.features import Exponential


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
    """(B, H, M, V), or (N, M, V) of some sequences: mean of the values under each feature."""
    mass: Tensor
    """(B, H, M, 1), or (N, M, 1): logarithm of the feature's sum over keys."""


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
        weights = kernel.weights(directions.to(work)).expand(len(query), query.shape[1], -1, -1)
        attend = (FUSED if FUSED.serves(query) else PlainKernel()).forward
        with without_autocast(query):
            keys, bias, values = _shown(key.to(work), value.to(work), valid, kernel)
            mean, mass = attend(Rows(weights, keys, values, bias.mT, None, 1.0))
            # A mask whose numbers are not next to each other would be written out for every query.
            mass = mass.contiguous()
            heads, masses = attend(Rows(query.to(work), weights, mean, mass.unsqueeze(2), None, 1.0))
        out, keep_in = heads.to(value.dtype), kept_type(query, ctx)
        heads_again = (x.to(keep_in) for x in (query, key, value))
        ctx.save_for_backward(*heads_again, valid, directions, out, mean, mass, masses)
        ctx.kernel, ctx.dtype = kernel, query.dtype
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, valid, directions, out, mean, mass, masses = ctx.saved_tensors
        kernel, mass, masses = ctx.kernel, mass.unsqueeze(-1), masses.unsqueeze(-1)
        weights = with_column(kernel.weights(directions.to(mass.dtype)), 1.0)  # (H or 1, M, E + 1)
        sequences, positions = plan_walk(query, weights.shape[1])
        grads = [empty_heads(x, ctx.dtype) for x in (query, key, value)]
        with without_autocast(query), untracked():
            for part in sequences:
                here, shown = rows_of(weights, query[part]), None if valid is None else valid[part]
                of_query, of_key, of_value = (x[part] for x in grads)
                summary = _Summary(mean[part].flatten(0, 1), mass[part].flatten(0, 1))
                mixed = out[part], masses[part], grad[part]
                of_summary = _mix_back(query[part], *mixed, summary, here, positions, of_query)
                inputs = key[part], value[part], shown
                _summarise_back(*inputs, summary, of_summary, here, kernel, positions, of_key, of_value)
        return (*_hide_gradients(grads, valid), None, None, None)


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
    weights = weights[..., :-1]
    to_exponent = torch.cat([weights, summary.mass, -torch.ones_like(grad_mass)], dim=-1).mT
    to_grad = with_column(summary.mean, -1.0).mT
    for chunk in positions:
        of_query = take(mass, chunk, work)
        queries = torch.cat([take(query, chunk, work), torch.ones_like(of_query), of_query], dim=-1)
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
    to_exponent, weights = with_column(weights, -summary.mass), weights[..., :-1]
    to_grad = with_column(of_mean, of_mass - (summary.mean * of_mean).sum(-1, keepdim=True))
    for chunk in positions:
        shown = None if valid is None else valid[:, chunk]
        k, v = (x[:, :, chunk].to(weights.dtype) for x in (key, value))
        k, bias, v = _shown(k, v, shown, kernel)
        keys = torch.cat([k, bias, torch.ones_like(bias)], dim=-1).flatten(0, 1)
        shares = _shares(to_exponent, keys.mT)  # (N, M, C)
        put(grad_value, chunk, torch.bmm(shares.mT, of_mean))
        values = with_column(v.flatten(0, 1), 1.0)
        of_exponent = torch.bmm(to_grad, values.mT).mul_(shares)
        of_key = torch.bmm(of_exponent.mT, weights)
        if kernel.curvature:
            of_key.addcmul_(keys[..., :-2], of_exponent.sum(1).unsqueeze(-1), value=-kernel.curvature)
        put(grad_key, chunk, of_key)


def _shown(key: Tensor, value: Tensor, valid: Tensor | None, kernel: Exponential) -> tuple[Tensor, Tensor, Tensor]:
    """Return keys, what they add to the exponents of all features (..., T, 1), and values (B, H, T, ...).

    A hidden key and its value are 0, its exponent the lowest: finite, so that no difference is NaN if all are hidden.
    """
    bias = kernel.norm_term(key)
    if valid is None:
        return key, bias, value
    hidden = ~valid[:, None, :, None]
    bias = bias.masked_fill_(hidden, hidden_score(bias.dtype))
    return key.masked_fill(hidden, 0.0), bias, value.masked_fill(hidden, 0.0)


def _shares(left: Tensor, right: Tensor) -> Tensor:
    """Return exp of a product (N, X, Y) that holds exponents less their logarithmic mass."""
    # No share is above 1, but for rounding where exponents are huge.
    return torch.bmm(left, right).clamp_(max=0.0).exp_()


def _hide_gradients(grads: list[Tensor], valid: Tensor | None) -> list[Tensor]:
    """Return the gradients of query, key and value (B, H, T, E), the value's zero where hidden; in place."""
    if valid is not None:
        grads[2].masked_fill_(~valid[:, None, :, None], 0.0)
    return grads
