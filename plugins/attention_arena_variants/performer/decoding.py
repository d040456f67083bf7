"""Decoding token by token: what the features remember of the past does not grow with it."""

from __future__ import annotations

import torch
from torch import Tensor

from attention_arena.layers import without_autocast
from attention_arena_variants.performer.causal import Past
from attention_arena_variants.performer.chunks import rows_of, with_column
from attention_arena_variants.performer.linear import Rules, divide


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
        added = features.values.mT * (with_column(v, 1.0) * (log_scale - gauge).exp())
        total = past.total * (past.gauge - gauge).exp() + added  # (N, M, V + 1)
        heads, _ = divide(kernel.stable(q, weights).values @ total, rules.least)
    return heads.to(value.dtype).view_as(value), Past(total, gauge)
