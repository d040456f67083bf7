"""Linformer of other packages."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bench.adapters.layer import PeerLayer, attend_densely, merge_heads, split_heads
from bench.cases import Cell, Sizes


class LucidrainsLinformer(PeerLayer):
    """`LinformerSelfAttention` of linformer: one pair of projections for all heads."""

    takes_mask = False

    def __init__(self, cell: Cell, sizes: Sizes) -> None:
        super().__init__()
        from linformer import LinformerSelfAttention

        setting = cell.setting
        self.inner: Any = LinformerSelfAttention(setting.d_model, cell.length, k=sizes.rank, heads=setting.n_heads)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Attend over `x` (B, T, D)."""
        return self.inner(x)  # type: ignore[no-any-return]

    def dense(self, x: Tensor) -> Tensor:
        """Return the formula's result."""
        T, inner = x.shape[1], self.inner
        key = inner.proj_k[:T].T @ inner.to_k(x)
        value = inner.proj_v[:T].T @ inner.to_v(x)
        query, key, value = (split_heads(part, inner.heads) for part in (inner.to_q(x), key, value))
        return inner.to_out(merge_heads(attend_densely(query, key, value)))  # type: ignore[no-any-return]


class TatkinLinformer(PeerLayer):
    """`MHAttention` of linformer-pytorch with headwise sharing; one module per head, biases in the projections."""

    def __init__(self, cell: Cell, sizes: Sizes) -> None:
        super().__init__()
        from linformer_pytorch import MHAttention

        setting = cell.setting
        self.causal = cell.causal
        self.inner: Any = MHAttention(
            cell.length,
            setting.d_head,
            setting.d_model,
            sizes.rank,
            setting.n_heads,
            dropout=0.0,
            checkpoint_level="C0",
            parameter_sharing="headwise",
            E_proj=None,
            F_proj=None,
            full_attention=False,
            causal_mask=self._corner(cell, sizes) if cell.causal else None,
        )

    @staticmethod
    def _corner(cell: Cell, sizes: Sizes) -> Tensor:
        return torch.triu(torch.ones(sizes.rank, cell.length)).T == 1

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Attend over `x` (B, T, D)."""
        return self.inner(x) if valid is None else self.inner(x, input_mask=valid)  # type: ignore[no-any-return]

    def dense(self, x: Tensor) -> Tensor | None:
        """Return the formula's result, head by head; None if causal, for which there is no formula."""
        if self.causal:
            return None
        heads = []
        layers: Any = zip(self.inner.heads, self.inner.to_q, self.inner.to_k, self.inner.to_v, strict=True)
        for head, to_query, to_key, to_value in layers:
            key, value = head.E(to_key(x).mT).mT, head.F(to_value(x).mT).mT
            heads.append(attend_densely(to_query(x), key, value))
        return self.inner.w_o(torch.cat(heads, dim=-1))  # type: ignore[no-any-return]
