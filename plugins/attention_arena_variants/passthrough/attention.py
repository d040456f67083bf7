"""What is left of a Transformer's cost when attention costs nothing: each token's heads are its own value.

The projections stay, so the distance to this line is what a variant's attention costs beside them (Choromanski et al.
2021, section 4.1, where it is called X (OPT)). It mixes no tokens, so what it learns means nothing.
"""

from __future__ import annotations

from torch import Tensor

from attention_arena.layers import HeadAttention
from attention_arena.variant import Context, State


class PassThrough(HeadAttention):
    """Projects queries, keys and values as full attention does, and returns the values."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        """Return a copy of `value` (B, H, T, E), with zeros at tokens that are padding."""
        if context.valid is None:
            # A view would keep the queries and keys beside it in memory until backward.
            return value.clone()
        return value.masked_fill(~context.valid[:, None, :, None], 0.0)

    def attend_step(
        self, query: Tensor, key: Tensor, value: Tensor, position: int, kept: State | None
    ) -> tuple[Tensor, State]:
        """Return `value` (B, H, 1, E), and nothing to keep."""
        return value, None
