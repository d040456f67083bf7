"""A model of a few numbers, and what a measure sees of a run of it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from attention_arena.layers import Attention, AttentionOutput, Stack
from attention_arena.measure import Contender, Measure, Measurement, Subject
from attention_arena.model import SequenceModel
from attention_arena.objectives import LanguageModeling
from attention_arena.task import Batch, Objective, Source, Split, TaskData
from attention_arena.variant import Capability, Context, ModelSettings, ModelShape, Options, Variant

MIB = 2**20
CPU = torch.device("cpu")
VOCABULARY = 11
LENGTH = 32
SETTINGS = ModelSettings(d_model=8, n_heads=2, n_layers=1, d_ff=16)


class Empty(Split):
    """A split without examples."""

    n_examples = 0
    content_hash = "00"

    def batches(self, batch_size: int, order_seed: int | None = None) -> Iterator[Batch]:
        return iter(())


class Nothing(Attention):
    """Attention that adds nothing to the stream, in one pass or step by step."""

    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        return AttentionOutput(torch.zeros_like(x))

    def step(self, x: Tensor, context: Context) -> AttentionOutput:
        return self(x, context)  # type: ignore[no-any-return]


class OutOfMemoryBeyond(Nothing):
    """Attention that says it is out of memory beyond 16 tokens."""

    longest = 16

    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        if x.shape[1] > self.longest:
            raise torch.OutOfMemoryError("no 3 GiB left\non this device")
        return super().forward(x, context)


def contender_of(
    attention: Callable[[], Attention],
    objective: Objective,
    label: str = "nothing",
    supports: frozenset[Capability] = frozenset(Capability),
    settings: ModelSettings = SETTINGS,
) -> Contender:
    """Return a variant whose every layer attends by what `attention()` builds."""

    def stack(options: Options, shape: ModelShape) -> Stack:
        return Stack(shape, lambda layer: attention())

    def build(length: int) -> SequenceModel:
        torch.manual_seed(0)
        shape = ModelShape(**settings.model_dump(), max_length=length, causal=objective.causal)
        return SequenceModel(stack(Options(), shape), shape, VOCABULARY, objective)

    variant = Variant(label, "attention of a toy", "none", supports, Options, stack)
    return Contender(label, variant, Options(), settings, build)


def subject_of(
    attention: Callable[[], Attention] = Nothing,
    objective: Objective | None = None,
    pairs: bool = False,
    *,
    baseline: Callable[[], Attention] | None = None,
    supports: frozenset[Capability] = frozenset(Capability),
    settings: ModelSettings = SETTINGS,
) -> Subject:
    """Return a run of next-token prediction over 32 tokens, 4 sequences a batch; `baseline` is `the baseline`."""
    goal = objective or LanguageModeling(VOCABULARY)
    data = TaskData(VOCABULARY, LENGTH, goal, Empty(), Empty(), Empty(), Source("generated", "none"))

    def batch(batch_size: int, length: int) -> Batch:
        tokens = torch.ones(batch_size, *([2] if pairs else []), length, dtype=torch.int64)
        targets = torch.ones(batch_size, dtype=torch.int64) if goal.pools else tokens
        return Batch(tokens, targets)

    contender = contender_of(attention, goal, supports=supports, settings=settings)
    subject = Subject(contender, contender.build(LENGTH), batch, data, CPU, nullcontext, 1e-3, LENGTH, batch_size=4)
    if baseline is None:
        return subject
    return replace(subject, baseline=contender_of(baseline, goal, "the baseline", supports, settings))


def measured(measure: Measure, subject: Subject, **options: Any) -> Sequence[Measurement]:
    """Return the rows of a measure, its options given by name."""
    return measure.run(measure.options(**options), subject)
