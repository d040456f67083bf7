"""Exact totals of an objective over a split."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch

from attention_arena.model import SequenceModel
from attention_arena.task import Batch, Split

Autocast = Callable[[], AbstractContextManager[Any]]


class Evaluation(NamedTuple):
    """What a model scores on a split: one value per metric, and per-example values in the split's order."""

    metrics: dict[str, float]
    sums: dict[str, float]
    examples: dict[str, torch.Tensor]
    """Name -> (N,). Where rows continue each other, `chain` numbers the texts that they continue."""
    seconds: float


def evaluate(
    model: SequenceModel,
    split: Split,
    batch_size: int,
    device: torch.device,
    autocast: Autocast,
    at_most: int | None = None,
) -> Evaluation:
    """Score `model` on a split in its order, in evaluation mode; the model's mode is restored.

    State passes from batch to batch where the variant keeps any. `at_most` stops after that many sequences.
    """
    began = time.perf_counter()
    was_training = model.training
    model.eval()
    totals: dict[str, float] = defaultdict(float)
    examples: dict[str, list[torch.Tensor]] = defaultdict(list)
    state, seen = None, 0
    chain = torch.empty(0, dtype=torch.int64)
    chains: list[torch.Tensor] = []
    # Not inference_mode: what a layer caches here (position tables) must stay usable in training.
    with torch.no_grad():
        for batch in split.batches(batch_size):
            if at_most is not None and seen >= at_most:
                break
            chain = chain_of(batch, chain, seen)
            chains.append(chain)
            seen += len(batch.tokens)
            batch = batch.to(device)
            with autocast():
                output = model(batch, state)
                score = model.objective.score(model.head, output.hidden, batch)
            state = output.state
            for name, value in score.sums.items():
                totals[name] += float(value)
            for name, values in score.examples.items():
                examples[name].append(values.cpu())
    model.train(was_training)
    if len({number for part in chains for number in part.tolist()}) < seen:
        examples["chain"] = chains
    return Evaluation(
        metrics=model.objective.summarise(totals),
        sums=dict(totals),
        examples={name: torch.cat(parts) for name, parts in examples.items()},
        seconds=time.perf_counter() - began,
    )


def chain_of(batch: Batch, before: torch.Tensor, seen: int) -> torch.Tensor:
    """Return a number (B,) for the text that each row is part of: that of the row it continues, or one not used yet.

    `before` are the numbers of the batch before, and `seen` how many rows there were.
    """
    fresh = seen + torch.arange(len(batch.tokens))
    if batch.resumes is None or not len(before):
        return fresh
    row = torch.arange(len(fresh)).clamp(max=len(before) - 1)
    return torch.where(batch.resumes.cpu(), before[row], fresh)
