"""Prediction of the next token, with exact sums and bounded logits."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from attention_arena.task import Batch, Metric, Objective, Score
from attention_arena.variant import Capability, ModelShape

LOGITS_AT_ONCE = 2**24
"""Logits held at a time, 64 MiB in float32: 65,536 positions of bytes, 62 of a 267,735-word vocabulary."""


class VocabularyHead(nn.Module):
    """A linear map to the vocabulary, with its own weight or the embedding's.

    The own weight starts at standard deviation 0.02, so that the first loss is near log(V) whatever the width. A tied
    one (Press & Wolf 2017) starts as the model's embedding does, at D^-1/2, which gives logits of unit variance.
    """

    def __init__(self, shape: ModelShape, embedding: nn.Embedding, vocab_size: int, tied: bool) -> None:
        super().__init__()
        if tied:
            self.weight = embedding.weight
        else:
            self.weight = nn.Parameter(torch.empty(vocab_size, shape.d_model).normal_(std=0.02))
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, hidden: Tensor) -> Tensor:
        """Return logits (..., V) of `hidden` (..., D)."""
        return functional.linear(hidden, self.weight, self.bias)


class LanguageModeling(Objective):
    """The next of `vocab_size` tokens at every position; `unit` is what a token is: byte, character or word.

    Weights are untied by default: at a byte vocabulary they cost next to nothing, and a variant's embedding is not
    pulled by its head. `tied` shares them.
    """

    requires = frozenset({Capability.CAUSAL})
    causal = True
    pools = False

    def __init__(
        self, vocab_size: int, unit: str = "byte", tied: bool = False, logits_at_once: int = LOGITS_AT_ONCE
    ) -> None:
        self.vocab_size, self.unit, self.tied = vocab_size, unit, tied
        self.positions_at_once = max(1, logits_at_once // vocab_size)
        self.metrics = (
            Metric(f"bits_per_{unit}", "bits", False),
            Metric("perplexity", f"per {unit}", False),
            Metric("loss", "nats", False),
        )

    def build_head(self, shape: ModelShape, embedding: nn.Embedding) -> nn.Module:
        """Return the map to the vocabulary."""
        if self.tied and embedding.weight.shape != (self.vocab_size, shape.d_model):
            raise ValueError(
                f"a tied head needs an embedding of {self.vocab_size} x {shape.d_model}, "
                f"got {' x '.join(map(str, embedding.weight.shape))}"
            )
        return VocabularyHead(shape, embedding, self.vocab_size, self.tied)

    def score(self, head: nn.Module, hidden: Tensor, batch: Batch) -> Score:
        """Score hidden states (B, T, D) against next tokens (B, T), a section of positions at a time.

        In training every section but a lone one is recomputed in backward, so that no more than one section's logits
        exist at any time.
        """
        flat, targets = hidden.flatten(0, 1), batch.targets.flatten()
        recompute = len(flat) > self.positions_at_once and torch.is_grad_enabled()
        parts = [
            _section(head, section, section_targets, recompute)
            for section, section_targets in zip(
                torch.split(flat, self.positions_at_once), torch.split(targets, self.positions_at_once), strict=True
            )
        ]
        nats, correct = (torch.cat(part).view_as(batch.targets) for part in zip(*parts, strict=True))  # (B, T)
        scored = torch.ones_like(correct) if batch.scored is None else batch.scored
        nats = nats.masked_fill(~scored, 0.0)
        row_nats = nats.detach().double().sum(dim=1)
        row_tokens = scored.double().sum(dim=1)
        sums = {
            "nats": row_nats.sum(),
            "tokens": row_tokens.sum(),
            "correct": (correct & scored).double().sum(),
            "count": row_tokens.sum(),
        }
        return Score(nats.sum() / scored.sum().clamp(min=1), sums, {"nats": row_nats, "tokens": row_tokens})

    def weight(self, batch: Batch) -> float:
        """Return the number of tokens that count."""
        return float(batch.targets.numel() if batch.scored is None else batch.scored.sum())

    def summarise(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Return bits and perplexity per token, and the mean loss in nats."""
        tokens = sums["tokens"]
        if not tokens:
            raise ValueError("nothing was scored: the split is empty")
        loss = sums["nats"] / tokens
        # A diverged model's loss may exceed what exp can hold; its perplexity is then infinite, not an error.
        perplexity = math.exp(loss) if loss < 700 else math.inf
        return {f"bits_per_{self.unit}": loss / math.log(2), "perplexity": perplexity, "loss": loss}


def _section(head: nn.Module, hidden: Tensor, targets: Tensor, recompute: bool) -> tuple[Tensor, Tensor]:
    """Return nats (N,) and whether the likeliest token was right (N,) for `hidden` (N, D) and `targets` (N,)."""
    if recompute:
        # The head draws nothing at random, so there is no generator state to preserve.
        return checkpoint(  # type: ignore[no-any-return]
            _predict, head, hidden, targets, use_reentrant=False, preserve_rng_state=False
        )
    return _predict(head, hidden, targets)


def _predict(head: nn.Module, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    logits = head(hidden)  # (N, V)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    nats = functional.cross_entropy(logits, targets, reduction="none")
    return nats, logits.detach().argmax(dim=-1) == targets
