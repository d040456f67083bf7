"""What a measure is: a built or trained model in, tidy rows out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch

from attention_arena.task import Batch, TaskData
from attention_arena.variant import ModelSettings, Options, Variant

CellStatus = Literal["done", "oom", "timeout", "unsupported", "failed"]
"""What became of a cell: a value, out of memory, over its time, impossible for this variant, or an error."""

SCHEMA: Mapping[str, str] = {
    "measure": "name of what was measured",
    "phase": "inference, training, or the split and checkpoint a score belongs to",
    "length": "tokens in a sequence, or null",
    "batch_size": "sequences in a batch, or null",
    "layer": "layer of the stack, counted from 0, or null where the value is of the whole model",
    "head": "attention head, counted from 0, or null where the value is of all heads",
    "position": "place in a series (position in the context, rank of a singular value), counted from 0, or null",
    "value": "the figure, in `unit`",
    "unit": "unit of value, low and high",
    "higher_is_better": "true, false, or null where neither is",
    "low": "lower end of the 95 % interval, or null",
    "high": "upper end of the 95 % interval, or null",
    "samples": "repetitions behind the value",
    "status": "done, or why there is no value: oom, timeout, unsupported, failed",
    "detail": "the reason in words, or null",
}


class Measurement(NamedTuple):
    """One row of the measurements table; `value` is None when the cell has a reason (`status`, `detail`) instead."""

    measure: str
    phase: str
    value: float | None
    unit: str
    length: int | None = None
    batch_size: int | None = None
    layer: int | None = None
    head: int | None = None
    position: int | None = None
    higher_is_better: bool | None = None
    low: float | None = None
    high: float | None = None
    samples: int = 1
    status: CellStatus = "done"
    detail: str | None = None

    def without(self, status: CellStatus, detail: str) -> Measurement:
        """Return the row as one without a value, and why."""
        return self._replace(value=None, low=None, high=None, samples=0, status=status, detail=detail)


@dataclass(frozen=True)
class Contender:
    """A variant with its options and shape, built anew at any length: the run's own, or the baseline beside it."""

    label: str
    variant: Variant
    options: Options
    settings: ModelSettings
    build: Callable[[int], torch.nn.Module]
    """length -> a fresh, untrained `SequenceModel` on the subject's device whose backbone takes that many tokens."""


class Answer(NamedTuple):
    """What became of a function that ran in a process of its own."""

    status: CellStatus
    value: Any = None
    """What the function returned, if it is done."""
    detail: str | None = None
    """Why it is not."""


Apart = Callable[[Callable[..., Any], Mapping[str, Any], float | None], Answer]
"""(function of a module, arguments, seconds it may take) -> what became of `function(subject, **arguments)`.

The function runs in a fresh process on the run's device and threads, and returns what can be pickled. Its subject is
the run's own, with a fresh untrained model as `trained`. It is ended when it takes longer than it may, or holds more
than `limits.memory_gib` leaves beside the run itself.
"""


@dataclass(frozen=True)
class Subject:
    """What a measure may look at: how to build the run's model anew at any length, the trained one, and the task."""

    contender: Contender
    """The run's own variant."""
    trained: torch.nn.Module
    """The run's model as training left it; untrained where the study trains nothing."""
    synthetic_batch: Callable[[int, int], Batch]
    """(batch_size, length) -> a full random batch of the task's kind on `device`."""
    data: TaskData
    device: torch.device
    autocast: Callable[[], Any]
    """A context manager for the run's precision."""
    learning_rate: float
    length: int
    """The task's own length in tokens."""
    batch_size: int
    seed: int = 0
    baseline: Contender | None = None
    """The study's baseline on this task; None where the run is it, or there is none, or it cannot do the task."""
    precision: str = "fp32"
    compile: bool = False
    """Whether the run's model goes through `torch.compile`."""
    memory_limit: int | None = None
    """Bytes that the run may hold (`limits.memory_gib`), beyond which it is ended; None where there is no limit."""
    apart: Apart | None = None
    """Runs a function in a fresh process; None where there can be none, and `measures.apart.run_apart` runs it here."""
    save: Callable[[str, Any], None] = lambda name, array: None
    """(name, NumPy array) -> None: keeps, beside the run's record, numbers that are too many for rows; each name once.
    The default keeps nothing."""

    def build(self, length: int) -> torch.nn.Module:
        """Return a fresh, untrained model of the run's own variant; see `Contender.build`."""
        return self.contender.build(length)


class Measure(NamedTuple):
    """A catalogue entry: options and a function from a subject to rows."""

    name: str
    summary: str
    options: type[Options]
    run: Callable[[Any, Subject], Sequence[Measurement]]
    """(options, subject) -> rows; raises nothing for a cell it cannot serve, but returns a row with `detail`."""
    needs_training: bool = False
