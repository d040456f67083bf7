"""Language models whose loss on every token is known beforehand, and texts for them."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attention_arena.measure import Subject
from attention_arena.model import ModelOutput
from attention_arena.objectives import LanguageModeling
from attention_arena.objectives.vocabulary import VocabularyHead
from attention_arena.splits import StreamSplit, Tokens
from attention_arena.task import Batch, Objective, Source, Split, TaskData
from attention_arena.variant import Capability
from tests.core.measures.toys import subject_of

SYMBOLS = 16
SURE = 6.0
"""Logit of what a toy expects, among zeros."""
KNOWS = math.log(1 + (SYMBOLS - 1) * math.exp(-SURE))
GUESSES = math.log(SYMBOLS)
STATELESS = frozenset({Capability.CAUSAL})
STATEFUL = STATELESS | {Capability.SEGMENT_STATE}


class Repeats(nn.Module):
    """Expects the token that stood `lag` places before the next one, and nothing where that is out of its sight.

    In a text of period `lag` it costs KNOWS nats where it sees that far, and GUESSES elsewhere. With `memory` it
    sees so many tokens of the segments before.
    """

    def __init__(self, lag: int, memory: int = 0) -> None:
        super().__init__()
        self.lag, self.memory = lag, memory
        self.objective = LanguageModeling(SYMBOLS)
        self.head = VocabularyHead(SYMBOLS, SYMBOLS, nn.Parameter(torch.eye(SYMBOLS)))
        self.seen: list[int] = []

    def forward(self, batch: Batch, state: Tensor | None = None) -> ModelOutput:
        B, T = batch.tokens.shape
        self.seen.append(batch.tokens.numel())
        before = torch.empty(B, 0, dtype=torch.int64)
        if state is not None:
            assert batch.resumes is not None
            assert batch.resumes.all()
            before = state
        known = torch.cat([torch.full((B, self.lag), -1), before, batch.tokens], dim=1)
        expected = known[:, known.shape[1] - T - self.lag + 1 :][:, :T]  # (B, T)
        logits = SURE * nn.functional.one_hot(expected.clamp(min=0), SYMBOLS).double()
        hidden = logits.masked_fill((expected < 0)[..., None], 0.0).float()
        rows = torch.cat([before, batch.tokens], dim=1)
        return ModelOutput(hidden, rows[:, rows.shape[1] - self.memory :] if self.memory else None)


def periodic(n_tokens: int, period: int, seed: int = 0) -> Tokens:
    """Return a text that repeats its first `period` tokens, no two of which are equal."""
    assert period <= SYMBOLS
    order = np.random.default_rng(seed).permutation(SYMBOLS)[:period].astype(np.uint8)
    return np.resize(order, n_tokens)


def noise(n_tokens: int, n_symbols: int = SYMBOLS, seed: int = 0) -> Tokens:
    """Return independent tokens."""
    return np.random.default_rng(seed).integers(0, n_symbols, n_tokens).astype(np.uint8)


def repeating(n_tokens: int, lag: int, seed: int = 0) -> Tokens:
    """Return random tokens that repeat after `lag` places, however long that is."""
    return np.resize(noise(lag, seed=seed), n_tokens)


def reading(
    model: nn.Module,
    text: Tokens | Split,
    length: int,
    batch_size: int = 4,
    supports: frozenset[Capability] = STATELESS,
    objective: Objective | None = None,
    unrelated: str | None = None,
) -> Subject:
    """Return what a measure sees of a run whose trained model is `model` and whose test split is `text`."""
    test = text if isinstance(text, Split) else StreamSplit(text, length, unrelated=unrelated)
    goal: Any = objective or model.objective
    data = TaskData(SYMBOLS, length, goal, test, test, test, Source("generated", "none"))
    subject = subject_of(objective=LanguageModeling(SYMBOLS), supports=supports)
    return replace(subject, trained=model, data=data, length=length, batch_size=batch_size)
