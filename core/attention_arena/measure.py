"""What a measure is: a built or trained model in, tidy rows out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from attention_arena.task import Batch, TaskData
from attention_arena.variant import Options

SCHEMA: Mapping[str, str] = {
    "measure": "name of what was measured",
    "phase": "inference, training, or the split and checkpoint a score belongs to",
    "length": "tokens in a sequence, or null",
    "batch_size": "sequences in a batch, or null",
    "value": "the figure, in `unit`",
    "unit": "unit of value, low and high",
    "higher_is_better": "true, false, or null where neither is",
    "low": "lower end of the 95 % interval, or null",
    "high": "upper end of the 95 % interval, or null",
    "samples": "repetitions behind the value",
    "detail": "why there is no value, or null",
}


class Measurement(NamedTuple):
    """One row of the measurements table; `value` is None when the cell has a reason (`detail`) instead of a number."""

    measure: str
    phase: str
    value: float | None
    unit: str
    length: int | None = None
    batch_size: int | None = None
    higher_is_better: bool | None = None
    low: float | None = None
    high: float | None = None
    samples: int = 1
    detail: str | None = None


@dataclass(frozen=True)
class Subject:
    """What a measure may look at: how to build the run's model anew at any length, and the trained one."""

    build: Callable[[int], torch.nn.Module]
    """length -> a fresh, untrained `SequenceModel` on `device` whose backbone takes that many tokens."""
    trained: torch.nn.Module
    """The run's model as training left it."""
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


class Measure(NamedTuple):
    """A catalogue entry: options and a function from a subject to rows."""

    name: str
    summary: str
    options: type[Options]
    run: Callable[[Any, Subject], Sequence[Measurement]]
    """(options, subject) -> rows; raises nothing for a cell it cannot serve, but returns a row with `detail`."""
    needs_training: bool = False
