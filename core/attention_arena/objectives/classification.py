"""Classification of a sequence from one pooled vector, with the Long Range Arena's head."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from attention_arena.layers import Linear
from attention_arena.task import Batch, Metric, Objective, Score
from attention_arena.variant import Capability, ModelShape


class ClassificationHead(nn.Module):
    """Pool, widen to d_ff (or `d_classifier`), ReLU, classes (Tay et al. 2020, appendix)."""

    def __init__(self, shape: ModelShape, n_classes: int) -> None:
        super().__init__()
        self.reads_first = shape.pooling == "cls"
        self.widen = Linear(shape.d_model, shape.classifier_width)
        self.classify = Linear(shape.classifier_width, n_classes)
        for layer in (self.widen, self.classify):
            start(layer)

    def forward(self, hidden: Tensor, valid: Tensor | None) -> Tensor:
        """Return logits (B, C) of `hidden` (B, T, D); `valid` (B, T) as in a batch.

        With CLS pooling `hidden` is (B, T + 1, D), its first position is the pooled vector, and `valid` is not read.
        """
        pooled = pool(hidden, valid, self.reads_first)
        return self.classify(functional.relu(self.widen(pooled)))  # type: ignore[no-any-return]


def start(layer: nn.Linear) -> None:
    """Set a head's layer as the Long Range Arena does: Xavier uniform weights, no bias."""
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)


def pool(hidden: Tensor, valid: Tensor | None, reads_first: bool) -> Tensor:
    """Return one vector (..., D) for each sequence of `hidden` (..., T, D): its first, or the mean over `valid`."""
    return hidden[..., 0, :] if reads_first else mean_over_valid(hidden, valid)


def mean_over_valid(hidden: Tensor, valid: Tensor | None) -> Tensor:
    """Return the mean (..., D) of `hidden` (..., T, D) over the positions of `valid` (..., T), in float32 at least.

    What invalid positions hold does not matter; a row without any valid position is zero.
    """
    hidden = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
    if valid is None:
        return hidden.mean(dim=-2)
    total = hidden.masked_fill(~valid[..., None], 0.0).sum(dim=-2)  # (..., D)
    return total / valid.sum(dim=-1, keepdim=True).clamp(min=1)


class Classification(Objective):
    """One of `n_classes` classes for each sequence; `padded` says that sequences differ in length."""

    metrics = (Metric("accuracy", "%", True), Metric("loss", "nats", False))
    causal = False
    pools = True

    def __init__(self, n_classes: int, padded: bool = True) -> None:
        if n_classes < 2:
            raise ValueError(f"n_classes must be at least 2, got {n_classes}")
        self.n_classes = n_classes
        needed = {Capability.BIDIRECTIONAL, Capability.PADDING} if padded else {Capability.BIDIRECTIONAL}
        self.requires = frozenset(needed)

    def build_head(self, shape: ModelShape, embedding: nn.Module) -> nn.Module:
        """Return the pooling head."""
        return ClassificationHead(shape, self.n_classes)

    def score(self, head: nn.Module, hidden: Tensor, batch: Batch) -> Score:
        """Score hidden states (B, T, D), or (B, T + 1, D) with a CLS token first, against classes (B,).

        Of pairs, hidden states are (B, 2, T, D) or (B, 2, T + 1, D).
        """
        logits = head(hidden, batch.valid)  # (B, C)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        scored = torch.ones_like(batch.targets, dtype=torch.bool) if batch.scored is None else batch.scored
        nats = functional.cross_entropy(logits, batch.targets, reduction="none").masked_fill(~scored, 0.0)  # (B,)
        predicted = logits.detach().argmax(dim=-1)
        correct = (predicted == batch.targets) & scored
        sums = {
            "nats": nats.detach().double().sum(),
            "correct": correct.double().sum(),
            "count": scored.double().sum(),
        }
        examples = {"correct": correct, "predicted": predicted, "nats": nats.detach(), "target": batch.targets}
        if batch.scored is not None:
            examples["count"] = scored
        return Score(nats.sum() / scored.sum().clamp(min=1), sums, examples)

    def weight(self, batch: Batch) -> float:
        """Return the number of sequences that count."""
        return float(len(batch.targets) if batch.scored is None else batch.scored.sum())

    def summarise(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Return accuracy in percent and the mean loss in nats."""
        count = sums["count"]
        if not count:
            raise ValueError("nothing was scored: the split is empty")
        return {"accuracy": 100.0 * sums["correct"] / count, "loss": sums["nats"] / count}
