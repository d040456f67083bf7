"""The map from hidden states to a vocabulary, applied to a section of positions at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from attention_arena.layers import linear

LOGITS_AT_ONCE = 2**24
"""Logits held at a time, 64 MiB in float32: 65,536 positions of bytes, 62 of a 267,735-word vocabulary."""


class Predicted(NamedTuple):
    """What N tokens cost: `nats` (N,), and whether each was the likeliest, `correct` (N,), if that was asked."""

    nats: Tensor
    correct: Tensor | None


class VocabularyHead(nn.Module):
    """A linear map to the vocabulary, with its own weight or the embedding's.

    The own weight starts at standard deviation 0.02, so that the first loss is near log(V) whatever the width. A tied
    one (Press & Wolf 2017) starts as the model's embedding does, at D^-1/2, which gives logits of unit variance.
    """

    def __init__(
        self, width: int, vocab_size: int, tied_to: nn.Parameter | None = None, logits_at_once: int = LOGITS_AT_ONCE
    ) -> None:
        super().__init__()
        if tied_to is not None and tied_to.shape != (vocab_size, width):
            raise ValueError(
                f"a tied head needs an embedding of {vocab_size} x {width}, got {' x '.join(map(str, tied_to.shape))}"
            )
        self.weight = nn.Parameter(torch.empty(vocab_size, width).normal_(std=0.02)) if tied_to is None else tied_to
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        self.logits_at_once = logits_at_once

    def forward(self, hidden: Tensor) -> Tensor:
        """Return logits (..., V) of `hidden` (..., D)."""
        return linear(hidden, self.weight, self.bias)

    def predict(self, hidden: Tensor, targets: Tensor, with_correct: bool = False) -> Predicted:
        """Return what the tokens `targets` (N,) cost, given `hidden` (N, D)."""
        return predict_in_sections(self, hidden, targets, self.logits_at_once // len(self.bias), with_correct)


def predict_in_sections(
    logits_of: Callable[[Tensor], Tensor], hidden: Tensor, targets: Tensor, at_once: int, with_correct: bool = False
) -> Predicted:
    """Return what the classes `targets` (N,) cost under the logits of `hidden` (N, D), `at_once` positions at a time.

    In training every section but a lone one is recomputed in backward, so that no more than one section's logits exist
    at any time.
    """
    at_once = max(1, at_once)
    recompute = len(hidden) > at_once and torch.is_grad_enabled()
    parts: list[tuple[Tensor, Tensor | None]] = []
    for section, answers in zip(torch.split(hidden, at_once), torch.split(targets, at_once), strict=True):
        if recompute:
            # A head draws nothing at random, so there is no generator state to preserve.
            part = checkpoint(
                _predict, logits_of, section, answers, with_correct, use_reentrant=False, preserve_rng_state=False
            )
        else:
            part = _predict(logits_of, section, answers, with_correct)
        parts.append(part)
    nats = torch.cat([nats for nats, _ in parts])
    return Predicted(nats, torch.cat([right for _, right in parts if right is not None]) if with_correct else None)


def _predict(
    logits_of: Callable[[Tensor], Tensor], hidden: Tensor, targets: Tensor, with_correct: bool
) -> tuple[Tensor, Tensor | None]:
    logits = logits_of(hidden)  # (N, V)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    nats = functional.cross_entropy(logits, targets, reduction="none")
    return nats, logits.detach().argmax(dim=-1) == targets if with_correct else None
