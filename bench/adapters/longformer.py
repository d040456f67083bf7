"""Sliding windows of other packages, without global tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bench.adapters.idiap import IdiapLayer
from bench.adapters.layer import PeerLayer, attend_densely, band, merge_heads, split_heads, window_of
from bench.cases import Cell, Sizes


class HuggingFaceLongformer(PeerLayer):
    """`LongformerSelfAttention` of transformers, with the output projection that follows it in the model."""

    def __init__(self, cell: Cell, sizes: Sizes) -> None:
        super().__init__()
        from transformers import LongformerConfig
        from transformers.models.longformer.modeling_longformer import LongformerSelfAttention

        setting = cell.setting
        config = LongformerConfig(
            hidden_size=setting.d_model,
            num_attention_heads=setting.n_heads,
            num_hidden_layers=1,
            attention_window=[sizes.window],
            attention_probs_dropout_prob=0.0,
        )
        self.inner: Any = LongformerSelfAttention(config, layer_id=0)
        self.project_out = nn.Linear(setting.d_model, setting.d_model)
        self.reach = window_of(cell, sizes.window)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Attend over `x` (B, T, D)."""
        masked = torch.zeros(x.shape[:2], dtype=torch.bool) if valid is None else ~valid
        score = x.new_zeros(x.shape[:2]).masked_fill(masked, -10000.0)
        hidden = self.inner(
            x, attention_mask=score, is_index_masked=masked, is_index_global_attn=None, is_global_attn=False
        )[0]
        return self.project_out(hidden)  # type: ignore[no-any-return]

    def dense(self, x: Tensor) -> Tensor:
        """Return softmax attention under a band."""
        inner = self.inner
        query, key, value = (split_heads(part(x), inner.num_heads) for part in (inner.query, inner.key, inner.value))
        heads = attend_densely(query, key, value, band(x.shape[1], *self.reach))
        return self.project_out(merge_heads(heads))  # type: ignore[no-any-return]


class LucidrainsWindow(PeerLayer):
    """`LocalMHA` of local-attention, cut to the exact window, without rotary positions.

    Blocks are half a window long, and each looks at as many as the window needs: fewer keys, and faster here, than one
    block as long as a side of the window.
    """

    def __init__(self, cell: Cell, sizes: Sizes) -> None:
        super().__init__()
        from local_attention import LocalMHA

        setting = cell.setting
        self.reach = window_of(cell, sizes.window)
        n_blocks = 2
        self.inner: Any = LocalMHA(
            dim=setting.d_model,
            dim_head=setting.d_head,
            heads=setting.n_heads,
            window_size=self.reach[0] // n_blocks,
            look_backward=n_blocks,
            look_forward=0 if cell.causal else n_blocks,
            causal=cell.causal,
            use_rotary_pos_emb=False,
        )

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Attend over `x` (B, T, D)."""
        return self.inner(x, mask=valid)  # type: ignore[no-any-return]

    def dense(self, x: Tensor) -> Tensor:
        """Return softmax attention under a band."""
        inner = self.inner
        query, key, value = (split_heads(part, inner.heads) for part in inner.to_qkv(x).chunk(3, dim=-1))
        heads = attend_densely(query, key, value, band(x.shape[1], *self.reach))
        return inner.to_out(merge_heads(heads))  # type: ignore[no-any-return]


class IdiapWindow(IdiapLayer):
    """fast-transformers' local attention; its kernel knows two-sided windows only, and reads an n x n mask."""

    def __init__(self, cell: Cell, sizes: Sizes) -> None:
        from fast_transformers.attention import LocalAttention

        self.window = sizes.window
        context = 2 * sizes.window if cell.causal else sizes.window
        super().__init__(cell, LocalAttention(context, attention_dropout=0.0))

    def dense(self, x: Tensor) -> Tensor:
        """Return softmax attention under a band, which has one key less behind the query than before it."""
        query, key, value = self.heads(x)
        before, after = (self.window, 0) if self.causal else (self.window // 2, self.window // 2 - 1)
        return self.merged(attend_densely(query, key, value, band(x.shape[1], before, after)))


class HuggingFaceBigBird(PeerLayer):
    """`BigBirdBlockSparseAttention` of transformers, with the output projection that follows it in the model.

    Three window, three random and two global blocks of an eighth of the window each: as many keys as a window has.
    """

    random = True

    def __init__(self, cell: Cell, sizes: Sizes) -> None:
        super().__init__()
        from transformers import BigBirdConfig
        from transformers.models.big_bird.modeling_big_bird import BigBirdBlockSparseAttention

        setting = cell.setting
        self.block = sizes.window // 8
        config = BigBirdConfig(
            hidden_size=setting.d_model,
            num_attention_heads=setting.n_heads,
            max_position_embeddings=cell.length,
            block_size=self.block,
            num_random_blocks=3,
            attention_probs_dropout_prob=0.0,
        )
        self.inner: Any = BigBirdBlockSparseAttention(config, seed=0)
        self.project_out = nn.Linear(setting.d_model, setting.d_model)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Attend over `x` (B, T, D)."""
        from transformers.models.big_bird.modeling_big_bird import BigBirdModel

        real = x.new_ones(x.shape[:2]) if valid is None else valid.to(x.dtype)
        blocked, *masks = BigBirdModel.create_masks_for_block_sparse_attn(real, self.block)
        hidden = self.inner(x, *masks, blocked, blocked)[0]
        return self.project_out(hidden)  # type: ignore[no-any-return]
