"""What a model loses on every token of some readings, with exact sums and the time that it takes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, cast

import torch
from torch import Tensor

from attention_arena.measure import Subject
from attention_arena.measures.perplexity.readings import Reading
from attention_arena.model import SequenceModel
from attention_arena.task import Batch, Score
from attention_arena.variant import State


class Scored(NamedTuple):
    """One reading's scores, of the N targets that count, row by row."""

    nats: Tensor
    """What each target cost (N,), float64 on the CPU."""
    places: Tensor
    """Its place in the text (N,)."""
    sums: dict[str, float]
    """The objective's totals over the N targets."""
    shape: tuple[int, int]
    """Rows and tokens of the reading (B, T)."""
    seconds: float
    """Wall time of transfer, forward pass and scores; the device is waited for."""


def score(subject: Subject, readings: Iterable[Reading]) -> Iterator[Scored]:
    """Yield the scores of the subject's trained model on each reading; state passes where rows resume.

    Raises ValueError where a loss is not finite.
    """
    model = cast(SequenceModel, subject.trained)
    state: State | None = None
    for batch, places in readings:
        began = _now(subject.device)
        goes_on = batch.resumes is not None and bool(batch.resumes.any())
        with evaluating(model), subject.autocast():
            found, state = _score_batch(model, batch.to(subject.device), state if goes_on else None)
            nats = found.examples["nats"].cpu()
            sums = {name: float(value) for name, value in found.sums.items()}
        seconds = _now(subject.device) - began
        if not bool(nats.isfinite().all()):
            raise ValueError("the loss of some tokens is not finite: the model has diverged")
        B, T = places.shape
        scored = places.flatten() if batch.scored is None else places[batch.scored]
        yield Scored(nats, scored, sums, (B, T), seconds)


def _score_batch(model: SequenceModel, batch: Batch, state: State | None) -> tuple[Score, State | None]:
    """Score the targets that count, each as an example of its own; return the state for the batch after.

    The head sees these positions alone, so what a window reads for context only costs no logits.
    """
    output = model(batch, state)
    scored = torch.ones_like(batch.targets, dtype=torch.bool) if batch.scored is None else batch.scored
    each = Batch(batch.tokens[scored].unsqueeze(1), batch.targets[scored].unsqueeze(1))  # (N, 1)
    return model.objective.score(model.head, output.hidden[scored].unsqueeze(1), each), output.state


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Put `model` in evaluation mode, without gradients; its mode is restored."""
    was_training = model.training
    model.eval()
    try:
        # Not inference_mode: what a layer caches here (position tables) must stay usable in training.
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Losses(NamedTuple):
    """What a text cost: each target's nats (N,) and place (N,), in the order of places, and exact sums."""

    nats: Tensor
    places: Tensor
    sums: dict[str, float]


def gather(scores: Iterable[Scored]) -> Losses:
    """Return the losses of all readings together."""
    found = list(scores)
    sums: dict[str, float] = defaultdict(float)
    for each in found:
        for name, value in each.sums.items():
            sums[name] += value
    places, order = torch.cat([each.places for each in found]).sort()
    return Losses(torch.cat([each.nats for each in found])[order], places, dict(sums))
