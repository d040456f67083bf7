"""Speed of inference and of a training step, beside the baseline.

With the tokens of a step fixed, an attention of linear cost is equally fast at every length; with the batch fixed, its
time grows with length. What is timed, on one synthetic batch that is the same for the variant and for the baseline:

- `inference`: embedding, backbone, head and loss, in evaluation mode, without a graph.
- `training`: the same in training mode (dropout included), its backward, and one step of fused AdamW. Not in it:
  reading data, clipping, the scaling of float16's gradients, moving data to the device.

Rows, at each length and in each phase:

- `step_time` (ms): one such call. `speed` (tokens/s): the tokens of the batch, both sequences of a pair, over that.
- `time_ratio` (×): time of the variant over that of the baseline, where the study has one that is not this run. It is
  the figure to compare: both are in memory at once and take turns call by call, so what slows the machine slows both.
- `compile_time` (s): what the first call of a compiled model took beyond a later one, with empty caches.

A cell is visited `repetitions` times and other cells in between (a compiled one at a stretch); within a visit the two
take turns in blocks, the order reversed each time. A visit yields one number, the median over its blocks (of their
quotients, for the ratio). The value is the median over visits, `low` and `high` are its 95 % interval, wider where one
visit resembles the last, and `samples` counts visits: up to three times `repetitions` while the interval of the ratio
reaches further than `tolerance`.

A phase is called `inference` or `training` where precision and compilation are the run's own, and otherwise states
both: `training, bf16, compiled`, `inference, fp32, eager`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator

from attention_arena.measure import Contender, Measure, Measurement, Subject
from attention_arena.measures.passes import Lengths, Passes, batch_size_for
from attention_arena.measures.timing.compilation import Compilation
from attention_arena.measures.timing.contest import Contest, Effort, Side, settle
from attention_arena.measures.timing.reach import Reach
from attention_arena.measures.timing.readings import compile_reading, own_reading, ratio_reading
from attention_arena.measures.timing.settings import Precision, Setting, settings_of
from attention_arena.measures.timing.stopwatch import Call, stopwatch_for
from attention_arena.variant import Options

Phase = Literal["inference", "training"]
TOKENS_PER_STEP = 8192
"""Where neither the tokens nor the sequences of a batch are given."""


class SpeedOptions(Options):
    """Options of the speed measure."""

    lengths: Lengths = Field(None, description="tokens in a sequence; null measures the task's own length")
    tokens_per_step: int | None = Field(
        None, ge=1, description="tokens in a batch, the same at every length; null: 8192, unless batch_size is given"
    )
    batch_size: int | None = Field(
        None, ge=1, description="sequences in a batch, the same at every length, in place of tokens_per_step"
    )
    phases: list[Phase] = Field(
        ["inference", "training"], min_length=1, description="a forward pass, a whole training step, or both"
    )
    precisions: list[Precision] | None = Field(
        None, min_length=1, description="precisions of the forward pass; null takes the run's own"
    )
    compile: list[bool] | None = Field(
        None, min_length=1, description="false: eager, true: through torch.compile; null takes the run's own"
    )
    repetitions: int = Field(9, ge=1, description="fewest visits to a cell, each one sample; an interval needs 6")
    min_seconds: float = Field(1.0, ge=0, description="shortest time of the run's own work over all visits to a cell")
    tolerance: float = Field(
        0.03,
        gt=0,
        description="share of the ratio that its interval shall not reach beyond it; else more visits follow",
    )
    max_seconds: float = Field(
        120.0, gt=0, description="longest time of one call; no visit to a cell begins after so much time for it"
    )
    clock: Literal["wall", "cpu"] = Field(
        "wall", description="on a CPU: time that passes, or processor time, steadier but no latency on several threads"
    )

    @model_validator(mode="after")
    def _tokens_or_sequences(self) -> Self:
        if self.batch_size is not None and self.tokens_per_step is not None:
            raise ValueError(
                f"tokens_per_step ({self.tokens_per_step}) and batch_size ({self.batch_size}) both fix the batch; "
                "leave one of them out"
            )
        return self

    @property
    def effort(self) -> Effort:
        """How long to sample a cell."""
        return Effort(self.repetitions, self.min_seconds, self.max_seconds, self.tolerance)


class _Cell(NamedTuple):
    contest: Contest
    step_time: Measurement
    """Still blank."""
    n_tokens: int


def measure_speed(options: SpeedOptions, subject: Subject) -> Sequence[Measurement]:
    """Return the rows of this module's docstring."""
    rows: list[Measurement] = []
    for setting in settings_of(subject, options.precisions, options.compile):
        cells = _cells(options, setting, subject)
        if setting.compile:
            for cell in sorted(cells, key=lambda cell: cell.contest.own.length):
                # One by one, because what is compiled for one length makes the next compile for any length.
                torch.compiler.reset()
                settle([cell.contest])
        else:
            settle([cell.contest for cell in cells])
        for cell in cells:
            rows += _rows(cell, subject)
    return rows


def _cells(options: SpeedOptions, setting: Setting, subject: Subject) -> list[_Cell]:
    stopwatch = stopwatch_for(subject.device, options.clock)
    reaches: defaultdict[tuple[Phase, str], Reach] = defaultdict(partial(Reach, options.max_seconds))
    found = setting.apply(subject)

    def side(contender: Contender, role: str, phase: Phase, size: int, length: int) -> Side:
        prepare = partial(_prepare, replace(found, contender=contender), phase, size, length)
        compiled = Compilation(prepare, stopwatch) if setting.compile else None
        return Side(length, compiled or prepare, reaches[phase, role])

    cells = []
    for length in options.lengths or [subject.length]:
        size = options.batch_size or batch_size_for(subject, options.tokens_per_step or TOKENS_PER_STEP, length)
        for phase in dict.fromkeys(options.phases):
            own = side(subject.contender, "own", phase, size, length)
            beside = side(subject.baseline, "baseline", phase, size, length) if subject.baseline else None
            contest = Contest(own, beside, stopwatch, options.effort, subject.memory_limit)
            name = setting.phase(phase, subject)
            blank = Measurement("step_time", name, None, "ms", length, size, higher_is_better=False, samples=0)
            cells.append(_Cell(contest, blank, size * subject.synthetic_batch(1, length).tokens.numel()))
    return cells


def _prepare(subject: Subject, phase: Phase, size: int, length: int) -> Call:
    passes = Passes(subject, size, length, torch.compile if subject.compile else lambda model: model)
    return passes.inference if phase == "inference" else passes.step


def _rows(cell: _Cell, subject: Subject) -> list[Measurement]:
    contest, blank, n_tokens = cell
    speed = blank._replace(measure="speed", unit="tokens/s", higher_is_better=True)
    rows = [
        own_reading(speed, contest, lambda seconds: n_tokens / seconds),
        own_reading(blank, contest, lambda seconds: 1e3 * seconds),
    ]
    if subject.baseline is not None:
        ratio = blank._replace(measure="time_ratio", unit="×")
        rows.append(ratio_reading(ratio, contest, subject.baseline.label))
    if isinstance(contest.own.prepare, Compilation):
        rows.append(compile_reading(blank._replace(measure="compile_time", unit="s"), contest))
    return rows


SPEED = Measure(
    name="speed",
    summary="time and tokens per second of inference and of a training step, and the time beside the baseline's",
    options=SpeedOptions,
    run=measure_speed,
)
