"""fast-transformers' attention layer, which several ideas are plugged into."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bench.adapters.layer import PeerLayer, merge_heads, split_heads
from bench.cases import Cell


class IdiapLayer(PeerLayer):
    """`AttentionLayer` of fast-transformers around one of its attentions."""

    def __init__(self, cell: Cell, attention: nn.Module) -> None:
        super().__init__()
        from fast_transformers.attention import AttentionLayer

        self.causal = cell.causal
        self.inner: Any = AttentionLayer(attention, cell.setting.d_model, cell.setting.n_heads)
        self._masks: dict[int, Any] = {}

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Attend over `x` (B, T, D)."""
        from fast_transformers.masking import LengthMask

        B, T = x.shape[:2]
        full = torch.full((B,), T)
        lengths = LengthMask(full if valid is None else valid.sum(-1), max_len=T)
        return self.inner(x, x, x, self._mask(T), lengths, lengths)  # type: ignore[no-any-return]

    def _mask(self, T: int) -> Any:
        """Return the mask of a length, which holds n x n numbers once a kernel has asked for them."""
        from fast_transformers.masking import FullMask, TriangularCausalMask

        if T not in self._masks:
            self._masks[T] = TriangularCausalMask(T) if self.causal else FullMask(T)
        return self._masks[T]

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return query, key and value (B, H, T, E)."""
        inner = self.inner
        query, key, value = (
            split_heads(project(x), inner.n_heads)
            for project in (inner.query_projection, inner.key_projection, inner.value_projection)
        )
        return query, key, value

    def merged(self, heads: Tensor) -> Tensor:
        """Return heads (B, H, T, E) through the output projection."""
        return self.inner.out_projection(merge_heads(heads))  # type: ignore[no-any-return]
