"""Transformer-XL of other packages."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bench.adapters.layer import PeerLayer, merge_heads, split_heads
from bench.cases import Cell, Sizes


class HuggingFaceTransformerXL(PeerLayer):
    """`RelPartialLearnableMultiHeadAttn` of transformers, segment by segment, each with the memory left of it.

    Its layer norm is taken out; its residual connection cannot be, and costs one addition.
    """

    takes_mask = False

    def __init__(self, cell: Cell, sizes: Sizes) -> None:
        super().__init__()
        from transformers.models.deprecated.transfo_xl import modeling_transfo_xl

        setting = cell.setting
        self.segment, self.memory = sizes.segment, sizes.memory
        self.positions = modeling_transfo_xl.PositionalEmbedding(setting.d_model)
        self.inner: Any = modeling_transfo_xl.RelPartialLearnableMultiHeadAttn(
            setting.n_heads, setting.d_model, setting.d_head, dropout=0.0
        )
        self.inner.layer_norm = nn.Identity()
        # The package leaves these two as the allocator hands them over.
        for bias in (self.inner.r_r_bias, self.inner.r_w_bias):
            nn.init.normal_(bias, std=0.02)
        self._masks: dict[tuple[int, int], Tensor] = {}

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Attend over `x` (B, T, D)."""
        tokens = x.transpose(0, 1)  # (T, B, D)
        pieces = []
        for start in range(0, len(tokens), self.segment):
            segment = tokens[start : start + self.segment]
            memory = tokens[max(0, start - self.memory) : start].detach()
            S = len(memory) + len(segment)
            distances = torch.arange(S - 1, -1, -1.0)
            mask = self._mask(len(segment), S)
            pieces.append(self.inner(segment, self.positions(distances), mask, memory)[0])
        return torch.cat(pieces).transpose(0, 1)

    def _mask(self, T: int, S: int) -> Tensor:
        """Return True at later keys, (T, S, 1)."""
        if (T, S) not in self._masks:
            self._masks[T, S] = torch.ones(T, S, dtype=torch.uint8).triu(1 + S - T).unsqueeze(-1)
        return self._masks[T, S]

    def dense(self, x: Tensor) -> Tensor:
        """Return the formula's four terms over all pairs, masked to segment and memory."""
        T, inner = x.shape[1], self.inner
        query, key, value = (split_heads(part, inner.n_head) for part in inner.qkv_net(x).chunk(3, dim=-1))
        place = torch.arange(T)
        distance = (place[:, None] - place).clamp(min=0)  # (T, T)
        relative = inner.r_net(self.positions(torch.arange(float(T)))).squeeze(1).unflatten(-1, (inner.n_head, -1))
        by_content = (query + inner.r_w_bias[:, None]) @ key.mT
        by_distance = torch.einsum("bhqe,qkhe->bhqk", query + inner.r_r_bias[:, None], relative[distance])
        oldest = (place // self.segment * self.segment - self.memory)[:, None]
        allowed = (place <= place[:, None]) & (place >= oldest)
        scores = ((by_content + by_distance) * inner.scale).masked_fill(~allowed, -torch.inf)
        return x + inner.o_net(merge_heads(scores.softmax(-1) @ value))  # type: ignore[no-any-return]
