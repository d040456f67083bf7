"""What next-token and masked-token prediction share: embedding, head, and exact sums over scored tokens."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from attention_arena.layers.adaptive_embedding import AdaptiveEmbedding
from attention_arena.objectives.adaptive_softmax import Adaptive, AdaptiveSoftmax
from attention_arena.objectives.vocabulary import LOGITS_AT_ONCE, VocabularyHead
from attention_arena.task import Batch, Objective, Score
from attention_arena.variant import ModelShape


class TokenPrediction(Objective):
    """One of `vocab_size` tokens at every scored position; `unit` is what a token is: byte, character or word.

    `tied` shares the embedding's weights with the head. `adaptive` cuts the vocabulary, whose ids must then be ranks by
    frequency, into bands, in the embedding and in the softmax.
    """

    pools = False
    counts_correct = False
    """Whether the sums say how many tokens were the likeliest, which takes all logits at every position."""

    def __init__(
        self,
        vocab_size: int,
        unit: str,
        tied: bool = False,
        logits_at_once: int = LOGITS_AT_ONCE,
        adaptive: Adaptive | None = None,
    ) -> None:
        self.vocab_size, self.unit, self.tied = vocab_size, unit, tied
        self.logits_at_once, self.adaptive = logits_at_once, adaptive
        if adaptive is not None:
            adaptive.bands(vocab_size, width=1)

    def build_embedding(self, shape: ModelShape, vocab_size: int) -> nn.Module:
        """Return the plain embedding, or the adaptive one."""
        if self.adaptive is None:
            return super().build_embedding(shape, vocab_size)
        return AdaptiveEmbedding(self.adaptive.bands(vocab_size, shape.d_model))

    def build_head(self, shape: ModelShape, embedding: nn.Module) -> nn.Module:
        """Return the map to the vocabulary."""
        if self.adaptive is not None:
            assert isinstance(embedding, AdaptiveEmbedding)
            bands = self.adaptive.bands(self.vocab_size, shape.d_model)
            tied_to = embedding if self.tied else None
            return AdaptiveSoftmax(bands, tied_to, self.adaptive.tied_projections, self.logits_at_once)
        weight = cast(nn.Parameter, embedding.weight) if self.tied else None
        return VocabularyHead(shape.d_model, self.vocab_size, weight, self.logits_at_once)

    def score(self, head: nn.Module, hidden: Tensor, batch: Batch) -> Score:
        """Score hidden states (B, T, D) against tokens (B, T), where `batch.scored` says so."""
        scored = torch.ones_like(batch.targets, dtype=torch.bool) if batch.scored is None else batch.scored
        everywhere = batch.scored is None
        rows = hidden.flatten(0, 1) if everywhere else hidden[scored]
        targets = batch.targets.flatten() if everywhere else batch.targets[scored]
        predicted = cast(VocabularyHead | AdaptiveSoftmax, head).predict(rows, targets, self.counts_correct)
        nats = _spread(predicted.nats, scored)  # (B, T)
        rows_of = {"nats": nats.detach().double().sum(dim=1), "tokens": scored.double().sum(dim=1)}  # (B,) each
        further = self.further_values(targets)
        if predicted.correct is not None:
            further = {"correct": predicted.correct, **further}
        rows_of |= {name: _spread(values.double(), scored).sum(dim=1) for name, values in further.items()}
        sums = {name: values.sum() for name, values in rows_of.items()}
        return Score(nats.sum() / scored.sum().clamp(min=1), sums, rows_of)

    def further_values(self, targets: Tensor) -> dict[str, Tensor]:
        """Return more values (N,), one for each of the scored tokens `targets` (N,), of which sums are kept."""
        return {}

    def weight(self, batch: Batch) -> float:
        """Return the number of tokens that count."""
        return float(batch.targets.numel() if batch.scored is None else batch.scored.sum())


def _spread(values: Tensor, scored: Tensor) -> Tensor:
    """Return `values` (N,) at the N places of `scored` (B, T), and 0 elsewhere."""
    if values.numel() == scored.numel():
        return values.view_as(scored)
    return torch.zeros(scored.shape, dtype=values.dtype, device=values.device).masked_scatter(scored, values)


def mean_nats(nats: float, tokens: float) -> tuple[float, float, float]:
    """Return bits and perplexity per token, and the loss in nats; raises ValueError where nothing was scored."""
    if not tokens:
        raise ValueError("nothing was scored: the split is empty")
    loss = nats / tokens
    # A diverged model's loss may exceed what exp can hold; its perplexity is then infinite, not an error.
    return loss / math.log(2), math.exp(loss) if loss < 700 else math.inf, loss
