"""What a task is: the contract between core and a task's plugin."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from attention_arena.datasets import DataSet
from attention_arena.errors import TaskError
from attention_arena.variant import Capability, ModelShape, Options

__all__ = [
    "Batch", "DataSet", "Metric", "Objective", "Score", "Source", "Split", "Task", "TaskData", "TaskError", "TaskNeeds",
]  # fmt: skip


class Batch(NamedTuple):
    """One batch of a task.

    - `tokens` (B, T) int64, or (B, 2, T) for pairs.
    - `targets` (B,) classes, or (B, T) next or masked tokens, int64.
    - `valid` bool like tokens, True at real tokens; None means all are.
    - `scored` bool like targets, True at targets that count; None means all do.
    - `landmarks` bool like tokens, True at tokens that the task singles out; None means none.
    - `resumes` (B,) bool, True for rows that continue the row of the batch before; None means no row does.
    """

    tokens: Tensor
    targets: Tensor
    valid: Tensor | None = None
    scored: Tensor | None = None
    landmarks: Tensor | None = None
    resumes: Tensor | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with every tensor changed."""

        def each(part: Tensor | None) -> Tensor | None:
            return None if part is None else change(part)

        rest = (each(part) for part in self[2:])
        return Batch(change(self.tokens), change(self.targets), *rest)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on `device`."""
        return self.map(lambda part: part.to(device, non_blocking=True))

    def rows(self, start: int, stop: int) -> Batch:
        """Return the rows `start` to `stop` as a batch of their own."""
        return self.map(lambda part: part[start:stop])


class Metric(NamedTuple):
    """One score of an objective."""

    name: str
    unit: str
    higher_is_better: bool


class Score(NamedTuple):
    """What one batch scored.

    `loss` is the mean to descend (0-dim, with gradient). `sums` are float64 totals over the batch (nats, tokens,
    correct, count), which add up exactly over batches. `examples` are per-row values (B,), kept for paired tests.
    """

    loss: Tensor
    sums: dict[str, Tensor]
    examples: Mapping[str, Tensor] = MappingProxyType({})


class Objective(ABC):
    """What a model must predict, how that is scored, and what it requires of a variant."""

    requires: frozenset[Capability]
    metrics: tuple[Metric, ...]
    """The first is the one that a study compares."""
    causal: bool
    pools: bool
    """True when the head reads one vector per sequence, so that a CLS token makes sense."""

    def build_embedding(self, shape: ModelShape, vocab_size: int) -> nn.Module:
        """Return the module from ids (B, T) to vectors (B, T, D): a table, normal with deviation D^-1/2.

        An objective with a large vocabulary may give rare tokens fewer numbers.
        """
        embedding = nn.Embedding(vocab_size, shape.d_model)
        nn.init.normal_(embedding.weight, std=shape.d_model**-0.5)
        return embedding

    @abstractmethod
    def build_head(self, shape: ModelShape, embedding: nn.Module) -> nn.Module:
        """Return the module that `score` reads: a head over hidden states (B, T, D).

        `embedding` is what `build_embedding` returned for the same shape, for a head that shares its weights.
        """

    @abstractmethod
    def score(self, head: nn.Module, hidden: Tensor, batch: Batch) -> Score:
        """Score hidden states (B, T, D) against the batch's targets.

        The head is applied here and not before, so that an objective with a large vocabulary can work through the
        positions in sections and never hold all logits at once.
        """

    @abstractmethod
    def weight(self, batch: Batch) -> float:
        """Return how many targets the batch's mean loss is a mean over; micro-batches are weighted by it."""

    @abstractmethod
    def summarise(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Turn totals over a split into one value per metric, by name."""


class Split(ABC):
    """One part of a task's data, read in batches."""

    n_examples: int
    """Examples (classification), or tokens to predict (language modelling)."""
    content_hash: str
    """SHA-256 of the content, hexadecimal."""

    @abstractmethod
    def batches(self, batch_size: int, order_seed: int | None = None) -> Iterator[Batch]:
        """Yield one pass over the split, in order, or shuffled by `order_seed`.

        Depends on its arguments alone. Without a seed, every example appears exactly once (the last batch may be
        short). With a seed, only full batches are yielded unless the split is smaller than one.
        """


@dataclass(frozen=True)
class Source:
    """Where data came from; a column of every result and a line of every report."""

    kind: Literal["official", "generated", "stand-in", "user"]
    description: str
    licence: str | None = None


@dataclass(frozen=True)
class TaskData:
    """A task's data, ready to train on."""

    vocab_size: int
    max_length: int
    """Tokens in the longest sequence."""
    objective: Objective
    train: Split
    validation: Split
    test: Split
    source: Source
    trivial_baselines: Mapping[str, float] = field(default_factory=dict)
    """Scores of the first metric, on test, that need no model: name -> value."""

    @property
    def data_hash(self) -> str:
        """SHA-256 over the three splits' content hashes."""
        import hashlib

        parts = [self.train.content_hash, self.validation.content_hash, self.test.content_hash]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@dataclass(frozen=True)
class TaskNeeds:
    """What a task asks of a variant, known from its options alone, before any data is prepared."""

    capabilities: frozenset[Capability]
    max_length: int
    causal: bool
    n_sequences: int = 1
    """Sequences in one example: 2 where it is a pair."""
    predicts_tokens: bool = False
    """Targets are tokens, not classes of whole sequences; a causal task's always are."""

    @property
    def pools(self) -> bool:
        """Whether the head reads one vector of a sequence, so that `pooling: cls` makes it a position longer."""
        return not (self.causal or self.predicts_tokens)


@dataclass(frozen=True)
class Task:
    """A catalogue entry: everything that core knows of a task."""

    name: str
    version: int
    """Changes when results before and after are not comparable."""
    summary: str
    paper: str
    options: type[Options]
    needs: Callable[[Any], TaskNeeds]
    """(options) -> what a variant must be able to do; cheap, touches no disk."""
    load: Callable[[Any, Path], TaskData]
    """(options, data folder) -> data; prepares and caches under the folder at first use. Raises TaskError."""
    small_options: Mapping[str, Any] = field(default_factory=dict)
    """Options that make a few examples in a second, for smoke studies and the contract suite."""
    datasets: tuple[DataSet, ...] = ()
    """Official data that it can read, for `arena data`."""
