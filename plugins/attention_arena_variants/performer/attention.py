"""Performer attention, FAVOR+ (Choromanski et al. 2020): the kernel of attention as a product of features.

exp(q . k) is the mean of a product phi(q) . phi(k) over random directions, so the n x n matrix phi(Q) phi(K)^T need not
exist: phi(Q) (phi(K)^T V) is the same and linear in n. Positive features keep the estimated weights positive, and
directions at right angles lower their error. Any other features define a kernel of their own.

`attend_plainly` is the formula with its matrix (`weigh_plainly`), and the specification. The fast forms are those of
`mixture`, `linear` and `causal`; `PerformerAttention` takes the one that it is given.

Letters beside the usual ones: m directions, M features.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from attention_arena.layers import AttentionOutput, HeadAttention
from attention_arena.variant import Context, ModelShape, State
from attention_arena_variants.performer.decoding import attend_next
from attention_arena_variants.performer.features import FeatureMap
from attention_arena_variants.performer.linear import Rules
from attention_arena_variants.performer.redrawing import Directions

Form = Callable[[Tensor, Tensor, Tensor, Tensor | None, Tensor], Tensor]
"""(query and key (B, H, T, E), value (B, H, T, V), valid (B, T) or None, directions (H or 1, m, E)) -> heads."""


def weigh_plainly(
    query: Tensor,
    key: Tensor,
    directions: Tensor,
    kernel: FeatureMap,
    allowed: Tensor,
    min_denominator: float = 0.0,
) -> Tensor:
    """Return weights (B, H, T, T): phi(Q) phi(K)^T over the pairs `allowed`, each row divided by its sum.

    Query and key (B, H, T, E), directions (H or 1, m, E); `allowed` broadcasts to (B, H, T, T). Sums of signed features
    count as at least `min_denominator` in size, relative to the scale of the features. A query without any key, or
    whose sum is exactly 0, weighs nothing.
    """
    matrix = kernel.phi(query, directions) @ kernel.phi(key, directions).mT  # (B, H, T, T)
    matrix = matrix.masked_fill(~allowed, 0.0)
    total = matrix.sum(-1, keepdim=True)
    if kernel.signed:
        of_keys = kernel.log_scale(key).mT.masked_fill(~allowed, -torch.inf).amax(-1, keepdim=True)
        least = min_denominator * (kernel.log_scale(query) + of_keys).exp().detach()
        total = torch.where(total.abs() < least, total.sign() * least, total)
    return (matrix / total.where(total != 0, 1.0)).masked_fill(total == 0, 0.0)


def attend_plainly(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    directions: Tensor,
    kernel: FeatureMap,
    allowed: Tensor,
    min_denominator: float = 0.0,
) -> Tensor:
    """Return heads (B, H, T, V): the weights of `weigh_plainly` times value (B, H, T, V)."""
    return weigh_plainly(query, key, directions, kernel, allowed, min_denominator) @ value


class PerformerAttention(HeadAttention):
    """Attention in the form `attend_by`, and step by step under the same `rules`.

    `replay` is the directions of a forward: one that is repeated takes those, and counts for no redrawing.
    """

    def __init__(self, shape: ModelShape, directions: Directions, attend_by: Form, rules: Rules) -> None:
        super().__init__(shape)
        self.directions = directions
        self.attend_by, self.rules = attend_by, rules

    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        """Attend over normalised hidden states (B, T, D)."""
        directions = self.directions.for_forward() if context.replay is None else context.replay
        output = super().forward(x, context._replace(replay=directions))
        return output._replace(replay=directions)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        """Attend over all valid positions, under `context.replay` or else the present directions."""
        directions = self.directions.current if context.replay is None else context.replay
        return self.attend_by(query, key, value, context.valid, directions)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what is attended with: query, key and value (B, H, T, E) of normalised hidden states (B, T, D)."""
        return self._heads(x, 0)

    def attend_step(
        self, query: Tensor, key: Tensor, value: Tensor, position: int, kept: State | None
    ) -> tuple[Tensor, State]:
        """Attend from the last token to itself and what the features remember."""
        return attend_next(query, key, value, kept, self.directions.current, self.rules)
