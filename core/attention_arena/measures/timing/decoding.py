"""Decoding token by token: time and state at a context, beside the baseline.

At each length the model has taken that many tokens, one by one; then the next 16 are timed, which is one call of
`speed`'s procedure (visits, turns, intervals), and every call begins anew from the same state. Sixteen, because some
variants put their state in order only every so many tokens. Timed is `SequenceModel.step` in evaluation mode without a
graph: embedding and backbone, for `batch_size` sequences at once. The head is not; it is the same for every variant.

- `decoding_time` (ms): one step, that is one further token of each sequence.
- `decoding_ratio` (×): that over the baseline's, where the study has one that is not this run.
- `decoding_state` (bytes): the tensors that the model hands from one step to the next after `length` tokens, for all
  sequences; each storage counts once and whole, and parameters do not count.

Only variants that decode step by step have these numbers, on tasks that predict the next token.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import NamedTuple

import torch
from pydantic import Field

from attention_arena.measure import Contender, Measure, Measurement, Subject
from attention_arena.measures.memory.counting import storage_bytes, tensors_in
from attention_arena.measures.passes import Lengths, Reason, built
from attention_arena.measures.timing.contest import Contest, Effort, Side, settle
from attention_arena.measures.timing.reach import Reach
from attention_arena.measures.timing.readings import own_reading, ratio_reading
from attention_arena.measures.timing.stopwatch import OverTimeError, stopwatch_for
from attention_arena.model import StepState
from attention_arena.variant import Capability, Options

N_TIMED = 16
"""Tokens in one timed call."""


class DecodingOptions(Options):
    """Options of the decoding measure."""

    lengths: Lengths = Field(None, description="tokens before the timed ones; null measures the task's own length")
    batch_size: int = Field(1, ge=1, description="sequences that are decoded at once")
    repetitions: int = Field(9, ge=1, description="fewest visits to a cell, each one sample; an interval needs 6")
    min_seconds: float = Field(0.5, ge=0, description="shortest time of the run's own steps over all visits to a cell")
    tolerance: float = Field(
        0.03,
        gt=0,
        description="share of the ratio that its interval shall not reach beyond it; else more visits follow",
    )
    max_seconds: float = Field(
        120.0, gt=0, description="longest time to decode a context; no visit begins after so much time for a cell"
    )

    @property
    def effort(self) -> Effort:
        """How long to sample a cell."""
        return Effort(self.repetitions, self.min_seconds, self.max_seconds, self.tolerance)


class Decoder:
    """A model in evaluation mode and its state after `length` random tokens; a call takes the next 16 from there.

    Raises OverTimeError when it takes more than `max_seconds` to come so far.
    """

    def __init__(self, subject: Subject, batch_size: int, length: int, max_seconds: float) -> None:
        self.model = built(subject, length + N_TIMED).eval()
        self.tokens = subject.synthetic_batch(batch_size, length + N_TIMED).tokens
        self.autocast = subject.autocast
        self.state: StepState | None = None
        began = time.perf_counter()
        for start in range(0, length, N_TIMED):
            self.state = self._steps(range(start, min(start + N_TIMED, length)))
            seconds = time.perf_counter() - began
            if seconds > max_seconds:
                raise OverTimeError(f"the first {start + N_TIMED} tokens", seconds, max_seconds)

    def __call__(self) -> StepState | None:
        """Decode the next tokens, and return the state after them."""
        n_tokens = self.tokens.shape[1]
        return self._steps(range(n_tokens - N_TIMED, n_tokens))

    def state_bytes(self) -> int:
        """Return the bytes that the state holds, apart from what the model holds anyway."""
        own = {part.untyped_storage().data_ptr() for part in (*self.model.parameters(), *self.model.buffers())}
        return storage_bytes(part for part in tensors_in(self.state) if part.untyped_storage().data_ptr() not in own)

    def _steps(self, places: range) -> StepState | None:
        state = self.state
        with torch.no_grad(), self.autocast():
            for place in places:
                _, state = self.model.step(self.tokens[:, place : place + 1], state)
        return state


class _Cell(NamedTuple):
    contest: Contest
    decoder: Callable[[], Decoder]
    """Builds the run's own at the first call, and returns the same one later."""
    blank: Measurement


def measure_decoding(options: DecodingOptions, subject: Subject) -> Sequence[Measurement]:
    """Return the rows of this module's docstring."""
    cells = _cells(options, subject)
    settle([cell.contest for cell in cells])
    return [row for cell in cells for row in _rows(cell, subject)]


def _cells(options: DecodingOptions, subject: Subject) -> list[_Cell]:
    stopwatch = stopwatch_for(subject.device)
    contenders = [each for each in (subject.contender, subject.baseline) if each is not None]
    reaches = [Reach(options.max_seconds) for _ in contenders]
    cells = []
    for length in options.lengths or [subject.length]:
        # Built once, because it takes a step for each token to come to the state.
        decoders = [
            cache(partial(Decoder, replace(subject, contender=each), options.batch_size, length, options.max_seconds))
            for each in contenders
        ]
        own, *baseline = (
            Side(length, decoder, reach, _why_not(each, subject))
            for each, decoder, reach in zip(contenders, decoders, reaches, strict=True)
        )
        contest = Contest(own, baseline[0] if baseline else None, stopwatch, options.effort, subject.memory_limit)
        blank = Measurement(
            "decoding_time", "decoding", None, "ms", length, options.batch_size, higher_is_better=False, samples=0
        )
        cells.append(_Cell(contest, decoders[0], blank))
    return cells


def _why_not(contender: Contender, subject: Subject) -> Reason | None:
    """Return why a variant has nothing to decode, or None."""
    if not subject.data.objective.causal:
        return Reason("unsupported", "the task does not predict the next token, so there is nothing to decode")
    if Capability.STEPWISE not in contender.variant.supports:
        return Reason("unsupported", f"{contender.variant.name} does not decode step by step")
    return None


def _rows(cell: _Cell, subject: Subject) -> list[Measurement]:
    contest, decoder, blank = cell
    rows = [own_reading(blank, contest, lambda seconds: 1e3 * seconds / N_TIMED)]
    if subject.baseline is not None:
        rows.append(ratio_reading(blank._replace(measure="decoding_ratio", unit="×"), contest, subject.baseline.label))
    state = blank._replace(measure="decoding_state", unit="bytes")
    if contest.own.reason is not None:
        return [*rows, state.without(*contest.own.reason)]
    return [*rows, state._replace(value=decoder().state_bytes(), samples=1)]


DECODING = Measure(
    name="decoding",
    summary="time of a step and bytes of state when a model decodes token by token, and the time beside the baseline's",
    options=DecodingOptions,
    run=measure_decoding,
)
