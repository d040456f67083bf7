"""The feed-forward layer, whole or in chunks along the sequence (Kitaev et al. 2020, section 3)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from attention_arena.layers.linear import Linear
from attention_arena.variant import ModelShape


def quick_gelu(x: Tensor) -> Tensor:
    """Return x * sigmoid(1.702 x), the Sparse Transformer's activation."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": nn.functional.gelu,
    "relu": nn.functional.relu,
    "quick_gelu": quick_gelu,
}


class FeedForward(nn.Module):
    """W2 activation(W1 x), position by position.

    With `feed_forward_chunks` c above 1 the sequence goes through in c pieces, each recomputed in backward, so that
    at most 1/c of the (B, T, F) activations exists at any time. The numbers are those of one piece.
    """

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.widen = Linear(shape.d_model, shape.d_ff)
        self.narrow = Linear(shape.d_ff, shape.d_model, wide=True)
        self.activation = ACTIVATIONS[shape.activation]
        self.n_chunks = shape.feed_forward_chunks
        for layer in (self.widen, self.narrow):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` (B, T, D) to (B, T, D)."""
        if self.n_chunks == 1:
            return self._apply_whole(x)
        pieces = x.chunk(self.n_chunks, dim=1)
        if not torch.is_grad_enabled():
            return torch.cat([self._apply_whole(piece) for piece in pieces], dim=1)
        # Nothing inside is random, so there is no generator state to preserve.
        return torch.cat(
            [checkpoint(self._apply_whole, piece, use_reentrant=False, preserve_rng_state=False) for piece in pieces],
            dim=1,
        )

    def _apply_whole(self, x: Tensor) -> Tensor:
        return self.narrow(self.activation(self.widen(x)))  # type: ignore[no-any-return]
