"""Classification of a pair of sequences, each encoded by the same weights, with the Long Range Arena's head for two."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from attention_arena.layers import Linear
from attention_arena.objectives.classification import Classification, pool, start
from attention_arena.variant import ModelShape


class MatchingHead(nn.Module):
    """Pool each sequence to x and y, join [x, y, x * y, x - y], widen to d_ff, narrow to d_ff / 2, classes.

    `d_classifier`, where it is set, stands for d_ff here. ReLU after both hidden layers (Tay et al. 2020, appendix:
    document retrieval). The two sequences never see each
    other before this, so that each could be encoded once and kept.
    """

    def __init__(self, shape: ModelShape, n_classes: int) -> None:
        super().__init__()
        self.reads_first = shape.pooling == "cls"
        width = shape.classifier_width
        half = max(1, width // 2)
        self.widen = Linear(4 * shape.d_model, width)
        self.narrow = Linear(width, half)
        self.classify = Linear(half, n_classes)
        for layer in (self.widen, self.narrow, self.classify):
            start(layer)

    def forward(self, hidden: Tensor, valid: Tensor | None) -> Tensor:
        """Return logits (B, C) of `hidden` (B, 2, T, D); `valid` (B, 2, T) as in a batch.

        With CLS pooling `hidden` is (B, 2, T + 1, D), and `valid` is not read.
        """
        first, second = pool(hidden, valid, self.reads_first).unbind(dim=1)  # (B, D) each
        joined = torch.cat([first, second, first * second, first - second], dim=-1)  # (B, 4 D)
        inner = functional.relu(self.narrow(functional.relu(self.widen(joined))))
        return self.classify(inner)  # type: ignore[no-any-return]


class Matching(Classification):
    """One of `n_classes` classes for each pair of sequences (B, 2, T); scored as a classification is."""

    def __init__(self, n_classes: int = 2, padded: bool = True) -> None:
        super().__init__(n_classes, padded)

    def build_head(self, shape: ModelShape, embedding: nn.Module) -> nn.Module:
        """Return the head for two pooled sequences."""
        return MatchingHead(shape, self.n_classes)
