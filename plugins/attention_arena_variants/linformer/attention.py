"""Linformer attention (Wang et al. 2020, section 4): the matrix of attention has low rank, so few keys are enough.

Keys and values are shortened along the sequence to R slots, and every query attends to all slots:
softmax(Q (E K)^T / sqrt(d_head)) (F V), which takes n R products of query and slot instead of n^2. Each slot mixes the
whole sequence, so there is no causal form: a mask over slots would hide none of the future.

`attend_plainly` is the formula, and the specification. `LinformerAttention.attend` is the same on PyTorch's fused
kernels, and its `forward` takes E (X W) as (E X) W where E treats all heads alike: no token but R slots then go
through the projections of keys and values.

Letters beside the usual ones: R slots (k in the paper).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from attention_arena.layers import AttentionOutput, HeadAttention, attend_fused, kept_of, linear
from attention_arena.variant import Context, ModelShape
from attention_arena_variants.linformer.projections import Projection, zero_padding


def attend_plainly(
    query: Tensor, key: Tensor, value: Tensor, of_key: Tensor, of_value: Tensor, valid: Tensor | None = None
) -> Tensor:
    """Return heads (B, H, T, E) of query, key and value (B, H, T, E), as the paper writes it (section 4).

    `of_key` and `of_value` (H, R, T) are E and F of each head. Rows of keys and values outside `valid` (B, T) are zero.
    Softmax in at least float32.
    """
    if valid is not None:
        real = valid[:, None, :, None]
        key, value = key.where(real, 0.0), value.where(real, 0.0)
    key_slots, value_slots = of_key @ key, of_value @ value  # (B, H, R, E) each
    scores = query @ key_slots.transpose(-1, -2) * query.shape[-1] ** -0.5  # (B, H, T, R)
    probabilities = functional.softmax(scores, dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32))
    return probabilities.to(value.dtype) @ value_slots


class LinformerAttention(HeadAttention):
    """Attention to slots; `projections` are those of keys and of values, which may be one and shared with other layers.

    A row without any valid token has slots of zeros, so its queries give zeros.
    """

    def __init__(self, shape: ModelShape, projections: tuple[Projection, Projection], attention_dropout: float) -> None:
        super().__init__(shape)
        self.key_projection, self.value_projection = projections
        self.attention_dropout = attention_dropout

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        """Attend to the slots of all valid positions."""
        key_slots = self.key_projection(_to_rows(key), context.valid)
        value_slots = self.value_projection(_to_rows(value), context.valid)
        return self._attend_to_slots(query, key_slots, value_slots)

    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        """Attend over normalised hidden states (B, T, D)."""
        # Rotary positions turn each key by its own angle before it is mixed with others.
        commutes = self.key_projection.commutes and self.value_projection.commutes and not self.rotary
        if not commutes or x.shape[1] <= self.key_projection.n_slots:
            return super().forward(x, context)
        to_query, to_key, to_value = self.project_in.weight.chunk(3)
        x = zero_padding(x, context.valid)
        kept = kept_of(x)
        for_key = self.key_projection(x, kept=kept)  # (B, R, D)
        for_value = for_key if self.value_projection is self.key_projection else self.value_projection(x, kept=kept)
        key_slots, value_slots = linear(for_key, to_key, wide=True), linear(for_value, to_value, wide=True)
        query = self._to_heads(linear(x, to_query, kept=kept, wide=True))
        return AttentionOutput(self._merge(self._attend_to_slots(query, key_slots, value_slots)))

    def _attend_to_slots(self, query: Tensor, key_slots: Tensor, value_slots: Tensor) -> Tensor:
        """Return heads (B, H, T, E) of queries (B, H, T, E) over slots (B, R, D)."""
        key, value = self._to_heads(key_slots), self._to_heads(value_slots)
        dropout = self.attention_dropout if self.training else 0.0
        return attend_fused(query, key, value, dropout=dropout)

    def _to_heads(self, rows: Tensor) -> Tensor:
        B, T, _ = rows.shape
        return rows.view(B, T, self.n_heads, -1).transpose(1, 2)  # (B, H, T, E)


def _to_rows(heads: Tensor) -> Tensor:
    return heads.transpose(1, 2).flatten(2)  # (B, T, D)
