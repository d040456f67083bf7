"""Prediction of tokens that were hidden from the model, from both sides (Devlin et al. 2019, BERT, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping

from attention_arena.objectives.adaptive_softmax import Adaptive
from attention_arena.objectives.token_prediction import TokenPrediction, mean_nats
from attention_arena.objectives.vocabulary import LOGITS_AT_ONCE
from attention_arena.task import Metric
from attention_arena.variant import Capability


class MaskedLanguageModeling(TokenPrediction):
    """The true token at every scored position of a corrupted sequence, given all of it.

    Its perplexity is that of a token given most of its neighbours on both sides, so it is lower than a left-to-right
    model's on the same text and must not be compared with it; the metrics say `masked`. Words are compared by
    perplexity, bytes and characters by bits. `vocab_size` counts the mask's id, which is an output like any other.
    """

    requires = frozenset({Capability.BIDIRECTIONAL})
    causal = False

    def __init__(
        self,
        vocab_size: int,
        unit: str = "byte",
        tied: bool = False,
        logits_at_once: int = LOGITS_AT_ONCE,
        adaptive: Adaptive | None = None,
    ) -> None:
        super().__init__(vocab_size, unit, tied, logits_at_once, adaptive)
        bits = Metric(f"bits_per_masked_{unit}", "bits", False)
        perplexity = Metric("masked_perplexity", f"per masked {unit}", False)
        first = (perplexity, bits) if unit == "word" else (bits, perplexity)
        self.metrics = (*first, Metric("loss", "nats", False))

    def summarise(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Return bits and perplexity per masked token, and the mean loss in nats."""
        bits, perplexity, loss = mean_nats(sums["nats"], sums["tokens"])
        values = {f"bits_per_masked_{self.unit}": bits, "masked_perplexity": perplexity, "loss": loss}
        return {metric.name: values[metric.name] for metric in self.metrics}
