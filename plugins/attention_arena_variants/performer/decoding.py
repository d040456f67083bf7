"""Decoding token by token: what the features remember of the past does not grow with it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from attention_arena.layers import hidden_score, without_autocast
from attention_arena_variants.performer.chunks import rows_of, with_column
from attention_arena_variants.performer.linear import Rules, divide


class Past(NamedTuple):
    """What decoding keeps of the tokens so far: of constant size."""

    total: Tensor
    """(N, V + 1, M): sum of [v, 1] phi(k)^T over exp(gauge)."""
    gauge: Tensor
    """(N, 1, 1): the largest log scale so far."""

    @classmethod
    def empty(cls, weights: Tensor, M: int, V: int) -> Past:
        """Return the past of the first token under `weights` (N, ...)."""
        gauge = weights.new_full((len(weights), 1, 1), hidden_score(weights.dtype))
        return cls(weights.new_zeros(len(weights), V + 1, M), gauge)


def attend_next(
    query: Tensor, key: Tensor, value: Tensor, past: Past | None, directions: Tensor, rules: Rules
) -> tuple[Tensor, Past]:
    """Return the heads (B, H, 1, V) of the next token and the past with it, given that of all tokens before.

    Query and key (B, H, 1, E), value (B, H, 1, V), directions (H or 1, m, E); `past` is None at the first token.
    """
    work = torch.promote_types(query.dtype, torch.float32)
    kernel = rules.kernel
    weights = rows_of(kernel.weights(directions.to(work)), query)
    with without_autocast(query):
        q, k, v = (x.to(work).flatten(0, 1) for x in (query, key, value))  # (N, 1, E or V) each
        features, log_scale = kernel.stable_and_scale(k, weights)
        if past is None:
            past = Past.empty(weights, features.values.shape[-1], v.shape[-1])
        gauge = torch.maximum(past.gauge, log_scale)
        added = (with_column(v, 1.0) * (log_scale - gauge).exp()).mT * features.values
        total = past.total * (past.gauge - gauge).exp() + added  # (N, V + 1, M)
        heads, _ = divide(total @ kernel.stable(q, weights).values.mT, rules.least)
    return heads.to(value.dtype).view_as(value), Past(total, gauge)
