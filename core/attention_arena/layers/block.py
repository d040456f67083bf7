"""One block: attention and feed-forward, each a residual branch with its layer norm."""

from __future__ import annotations

from torch import Tensor, nn

from attention_arena.layers.attention import Attention, AttentionOutput
from attention_arena.layers.feed_forward import FeedForward
from attention_arena.variant import Context, ModelShape


class Block(nn.Module):
    """The block that all variants of a study share.

    Pre-norm: x + f(norm(x)). Post-norm: norm(x + f(x)). The branches are separate methods, because a reversible stack
    adds them to two streams.
    """

    def __init__(self, shape: ModelShape, attention: Attention) -> None:
        super().__init__()
        self.pre_norm = shape.norm == "pre"
        self.attention = attention
        self.attention_norm = nn.LayerNorm(shape.d_model)
        self.feed_forward = FeedForward(shape)
        self.feed_forward_norm = nn.LayerNorm(shape.d_model)
        self.dropout = nn.Dropout(shape.dropout)
        self._as_is = nn.Identity()

    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        """Map `x` (B, T, D) through both residual branches."""
        return self._add_branches(x, self.attention_branch(x, context))

    def step(self, x: Tensor, context: Context) -> AttentionOutput:
        """Map the next token `x` (B, 1, D) through both residual branches."""
        return self._add_branches(x, self.step_branch(x, context))

    def step_branch(self, x: Tensor, context: Context) -> AttentionOutput:
        """Return what attention adds to the residual stream of the next token (B, 1, D)."""
        norm = self.attention_norm if self.pre_norm else self._as_is
        output = self.attention.step_raw(x, norm, context)
        return output._replace(hidden=self.dropout(output.hidden))

    def attention_branch(self, x: Tensor, context: Context) -> AttentionOutput:
        """Return what attention adds to the residual stream."""
        norm = self.attention_norm if self.pre_norm else self._as_is
        output = self.attention.forward_raw(x, norm, context)
        return output._replace(hidden=self.dropout(output.hidden))

    def feed_forward_branch(self, x: Tensor) -> Tensor:
        """Return what the feed-forward layer adds to the residual stream."""
        norm = self.feed_forward_norm if self.pre_norm else self._as_is
        return self.dropout(self.feed_forward(norm(x)))  # type: ignore[no-any-return]

    def _add_branches(self, x: Tensor, attended: AttentionOutput) -> AttentionOutput:
        x = x + attended.hidden
        x = x if self.pre_norm else self.attention_norm(x)
        x = x + self.feed_forward_branch(x)
        x = x if self.pre_norm else self.feed_forward_norm(x)
        return attended._replace(hidden=x)
