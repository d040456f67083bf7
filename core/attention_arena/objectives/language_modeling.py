"""Prediction of the next token, with exact sums and bounded logits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from attention_arena.objectives.adaptive_softmax import Adaptive
from attention_arena.objectives.token_prediction import TokenPrediction, mean_nats
from attention_arena.objectives.vocabulary import LOGITS_AT_ONCE
from attention_arena.task import Metric
from attention_arena.variant import Capability


class LanguageModeling(TokenPrediction):
    """The next of `vocab_size` tokens at every position; `unit` is what a token is: byte, character or word.

    Words are compared by perplexity, bytes and characters by bits. `token_bytes` (V,) says how many bytes of text each
    token stands for, and adds bits per byte, which compares vocabularies.

    Weights are untied by default: at a byte vocabulary they cost next to nothing, and a variant's embedding is not
    pulled by its head. `tied` shares them. `by_accuracy` makes the percentage of scored tokens that are the likeliest
    one the metric that a study compares: where the answer is certain, it says more than bits.
    """

    requires = frozenset({Capability.CAUSAL})
    causal = True

    def __init__(
        self,
        vocab_size: int,
        unit: str = "byte",
        tied: bool = False,
        logits_at_once: int = LOGITS_AT_ONCE,
        by_accuracy: bool = False,
        token_bytes: Sequence[int] | Tensor | None = None,
        adaptive: Adaptive | None = None,
    ) -> None:
        super().__init__(vocab_size, unit, tied, logits_at_once, adaptive)
        if by_accuracy and adaptive is not None:
            raise ValueError("by_accuracy needs the logits of all words, which an adaptive softmax does not compute")
        self.by_accuracy = self.counts_correct = by_accuracy
        self.token_bytes = None if token_bytes is None else torch.as_tensor(token_bytes, dtype=torch.int64)
        if self.token_bytes is not None and self.token_bytes.shape != (vocab_size,):
            raise ValueError(f"token_bytes must be ({vocab_size},), got {tuple(self.token_bytes.shape)}")
        bits = Metric(f"bits_per_{unit}", "bits", False)
        perplexity = Metric("perplexity", f"per {unit}", False)
        per_byte = (Metric("bits_per_byte", "bits", False),) if self.counts_bytes else ()
        self.metrics = (
            *((Metric("accuracy", "%", True),) if by_accuracy else ()),
            *((perplexity, bits) if unit == "word" else (bits, perplexity)),
            *per_byte,
            Metric("loss", "nats", False),
        )

    @property
    def counts_bytes(self) -> bool:
        """Whether bits per byte stand beside bits per token."""
        return self.token_bytes is not None and self.unit != "byte"

    def further_values(self, targets: Tensor) -> dict[str, Tensor]:
        """Return how many bytes of text each token stands for, where that is known."""
        if self.token_bytes is None or not self.counts_bytes:
            return {}
        if self.token_bytes.device != targets.device:
            self.token_bytes = self.token_bytes.to(targets.device)
        return {"bytes": self.token_bytes[targets]}

    def summarise(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Return bits and perplexity per token, the mean loss in nats, and what else is measured."""
        bits, perplexity, loss = mean_nats(sums["nats"], sums["tokens"])
        values = {f"bits_per_{self.unit}": bits, "perplexity": perplexity, "loss": loss}
        if self.counts_bytes:
            values["bits_per_byte"] = sums["nats"] / math.log(2) / sums["bytes"] if sums["bytes"] else math.inf
        if self.by_accuracy:
            values["accuracy"] = 100.0 * sums["correct"] / sums["tokens"]
        return {metric.name: values[metric.name] for metric in self.metrics}
