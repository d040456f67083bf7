"""Softmax attention (Vaswani et al. 2017, section 3.2): softmax(Q K^T / sqrt(E)) V, head by head.

`NaiveAttention` is the formula, and the specification; it holds the n x n matrix. `FusedAttention` is the same function
through PyTorch's fused kernels, which hold no such matrix.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from attention_arena.layers import HeadAttention, attend_fused
from attention_arena.variant import Context, ModelShape, State


class Cache(NamedTuple):
    """Keys and values of the tokens so far, (B, H, T, E) each."""

    key: Tensor
    value: Tensor


class NaiveAttention(HeadAttention):
    """The formula as written, with the (B, H, T, T) matrix in memory; softmax in float32 for half precision."""

    def __init__(self, shape: ModelShape, attention_dropout: float) -> None:
        super().__init__(shape)
        self.causal = shape.causal
        self.attention_dropout = attention_dropout

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        """Attend over all valid positions."""
        T, S = query.shape[2], key.shape[2]
        scores = (query @ key.transpose(-1, -2)) * query.shape[-1] ** -0.5  # (B, H, T, S)
        allowed = torch.ones(T, S, dtype=torch.bool, device=query.device)
        if self.causal:
            allowed = allowed.tril(S - T)
        if context.valid is not None:
            allowed = allowed & context.valid[:, None, None, :]
        scores = scores.masked_fill(~allowed, -torch.inf)
        probabilities = functional.softmax(scores, dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32))
        probabilities = probabilities.masked_fill(~allowed.any(-1, keepdim=True), 0.0)
        probabilities = functional.dropout(probabilities, self.attention_dropout, self.training)
        return probabilities.to(value.dtype) @ value  # (B, H, T, E)

    def attend_step(
        self, query: Tensor, key: Tensor, value: Tensor, position: int, kept: State | None
    ) -> tuple[Tensor, State]:
        """Attend from the last token to the cache and itself."""
        cache = _extend(kept, key, value)
        return self.attend(query, cache.key, cache.value, Context()), cache


class FusedAttention(HeadAttention):
    """The same function without the matrix."""

    def __init__(self, shape: ModelShape, attention_dropout: float) -> None:
        super().__init__(shape)
        self.causal = shape.causal
        self.attention_dropout = attention_dropout

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        """Attend over all valid positions."""
        dropout = self.attention_dropout if self.training else 0.0
        if context.valid is None:
            return attend_fused(query, key, value, dropout=dropout, causal=self.causal)
        allowed = context.valid[:, None, None, :]  # (B, 1, 1, T)
        if self.causal:
            T = query.shape[2]
            allowed = allowed & torch.ones(T, T, dtype=torch.bool, device=query.device).tril()  # (B, 1, T, T)
        heads = attend_fused(query, key, value, allowed=allowed, dropout=dropout)
        # Kernels differ on a query without any key (zeros or NaN), so it is decided here.
        return heads.masked_fill(~allowed.any(-1, keepdim=True), 0.0)

    def attend_step(
        self, query: Tensor, key: Tensor, value: Tensor, position: int, kept: State | None
    ) -> tuple[Tensor, State]:
        """Attend from the last token to the cache and itself."""
        cache = _extend(kept, key, value)
        return functional.scaled_dot_product_attention(query, cache.key, cache.value), cache


def _extend(kept: State | None, key: Tensor, value: Tensor) -> Cache:
    if kept is None:
        return Cache(key, value)
    return Cache(torch.cat([kept.key, key], dim=2), torch.cat([kept.value, value], dim=2))
