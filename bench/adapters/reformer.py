"""LSH attention of other packages; none has a dense form to compare with, because chance decides its pairs."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from bench.adapters.idiap import IdiapLayer
from bench.adapters.layer import PeerLayer
from bench.cases import Cell, Sizes


class LucidrainsReformer(PeerLayer):
    """`LSHSelfAttention` of reformer-pytorch."""

    random = True

    def __init__(self, cell: Cell, sizes: Sizes, n_hashes: int) -> None:
        super().__init__()
        from reformer_pytorch import LSHSelfAttention

        self.inner: Any = LSHSelfAttention(
            cell.setting.d_model,
            heads=cell.setting.n_heads,
            bucket_size=sizes.bucket,
            n_hashes=n_hashes,
            causal=cell.causal,
        )

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Attend over `x` (B, T, D)."""
        return self.inner(x, input_mask=valid)  # type: ignore[no-any-return]


class HuggingFaceReformer(PeerLayer):
    """`LSHSelfAttention` of transformers, with the output projection that follows it in the model."""

    random = True

    def __init__(self, cell: Cell, sizes: Sizes, n_hashes: int) -> None:
        super().__init__()
        from transformers import ReformerConfig
        from transformers.models.reformer.modeling_reformer import LSHSelfAttention

        setting = cell.setting
        config = ReformerConfig(
            hidden_size=setting.d_model,
            num_attention_heads=setting.n_heads,
            attention_head_size=setting.d_head,
            num_hashes=n_hashes,
            num_buckets=None,
            lsh_attn_chunk_length=sizes.bucket,
            lsh_attention_probs_dropout_prob=0.0,
            max_position_embeddings=cell.length,
            is_decoder=cell.causal,
        )
        self.inner: Any = LSHSelfAttention(config)
        self.project_out = nn.Linear(setting.d_model, setting.d_model, bias=False)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Attend over `x` (B, T, D)."""
        return self.project_out(self.inner(x, attention_mask=valid).hidden_states)  # type: ignore[no-any-return]


class IdiapReformer(IdiapLayer):
    """fast-transformers' Reformer attention, with one bucket for every `bucket` tokens."""

    random = True

    def __init__(self, cell: Cell, sizes: Sizes, n_hashes: int) -> None:
        from fast_transformers.attention import ReformerAttention

        # Each plane has two sides, each a bucket.
        n_planes = max(1, cell.length // sizes.bucket // 2)
        attention = ReformerAttention(chunk_size=sizes.bucket, bits=n_planes, rounds=n_hashes, attention_dropout=0.0)
        super().__init__(cell, attention)
