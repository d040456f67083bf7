"""Performer, and linear attention beside it, of other packages."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from torch import Tensor

from bench.adapters.idiap import IdiapLayer
from bench.adapters.layer import PeerLayer, merge_heads, split_heads
from bench.cases import Cell, Sizes


def attend_by_features(query: Tensor, key: Tensor, value: Tensor, causal: bool, floor: Tensor | float = 0.0) -> Tensor:
    """Return heads (B, H, T, E) from the n x n matrix of features' products; `floor` is added to each row's sum."""
    weights = query @ key.mT
    weights = weights.tril() if causal else weights
    return weights @ value / (weights.sum(-1, keepdim=True) + floor)


class LucidrainsPerformer(PeerLayer):
    """`SelfAttention` of performer-pytorch; `kernel="compiled"` gives its causal form fast-transformers' CPU kernel.

    The package asks for the kernel's CUDA build, and without one takes a path that holds n m E numbers.
    """

    def __init__(self, cell: Cell, sizes: Sizes, kernel: Literal["own", "compiled"] = "own") -> None:
        super().__init__()
        from performer_pytorch import SelfAttention
        from performer_pytorch.performer_pytorch import causal_linear_attention

        setting = cell.setting
        self.causal = cell.causal
        # It prints that it has no CUDA code.
        with contextlib.redirect_stdout(io.StringIO()):
            self.inner: Any = SelfAttention(
                setting.d_model,
                causal=cell.causal,
                heads=setting.n_heads,
                dim_head=setting.d_head,
                nb_features=sizes.features,
            )
        if kernel == "compiled":
            self.inner.fast_attention.causal_linear_fn = causal_linear_attention

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Attend over `x` (B, T, D)."""
        return self.inner(x, mask=valid)  # type: ignore[no-any-return]

    def dense(self, x: Tensor) -> Tensor:
        """Return the result of the features as the package computes them."""
        from performer_pytorch.performer_pytorch import softmax_kernel

        inner = self.inner
        query, key, value = (split_heads(part(x), inner.heads) for part in (inner.to_q, inner.to_k, inner.to_v))
        features: Callable[..., Tensor] = partial(
            softmax_kernel, projection_matrix=inner.fast_attention.projection_matrix
        )
        query, key = features(query, is_query=True), features(key, is_query=False)
        floor = 1e-6 * query.sum(-1, keepdim=True) if self.causal else 0.0
        heads = attend_by_features(query, key, value, self.causal, floor)
        return inner.to_out(merge_heads(heads))  # type: ignore[no-any-return]


class IdiapPerformer(IdiapLayer):
    """fast-transformers' linear attention with its `Favor` features, redrawn every 1000 calls."""

    def __init__(self, cell: Cell, sizes: Sizes) -> None:
        from fast_transformers.attention import CausalLinearAttention, LinearAttention
        from fast_transformers.feature_maps import Favor

        attention = CausalLinearAttention if cell.causal else LinearAttention
        favor = Favor.factory(n_dims=sizes.features, redraw=1000)
        super().__init__(cell, attention(cell.setting.d_head, feature_map=favor))

    def dense(self, x: Tensor) -> Tensor:
        """Return the result of the features as the package computes them."""
        query, key, value = self.heads(x)
        attention = self.inner.inner_attention
        features = attention.feature_map
        if not features.omega.any():
            features.new_feature_map(x.device)
        # Its maps expect (B, T, H, E).
        query, key = (features(part.transpose(1, 2)).transpose(1, 2) for part in (query, key))
        return self.merged(attend_by_features(query, key, value, self.causal, attention.eps))


class LucidrainsLinear(PeerLayer):
    """`SelfAttention` of linear-attention-transformer, whose features are a softmax over the head's own width."""

    def __init__(self, cell: Cell, sizes: Sizes) -> None:
        super().__init__()
        from linear_attention_transformer.linear_attention_transformer import SelfAttention

        setting = cell.setting
        self.causal = cell.causal
        # A block of 1 token would keep an E x E matrix for every token.
        self.inner: Any = SelfAttention(
            setting.d_model, setting.n_heads, causal=cell.causal, blindspot_size=sizes.bucket
        )

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Attend over `x` (B, T, D)."""
        return self.inner(x, input_mask=valid)  # type: ignore[no-any-return]

    def dense(self, x: Tensor) -> Tensor:
        """Return linear attention with these features from all keys, or all up to the query's own."""
        inner = self.inner
        query, key, value = (split_heads(part(x), inner.heads) for part in (inner.to_q, inner.to_k, inner.to_v))
        query = query.softmax(-1)
        if self.causal:
            heads = attend_by_features(query, key.exp(), value, causal=True)
        else:
            heads = query * query.shape[-1] ** -0.5 @ (key.softmax(-2).mT @ value)
        return inner.to_out(merge_heads(heads))  # type: ignore[no-any-return]
