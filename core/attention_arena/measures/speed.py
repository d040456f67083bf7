"""Speed of inference and of a training step, at a fixed number of tokens per step.

With the tokens of a step fixed, an attention of linear cost is equally fast at every length; with the batch size fixed,
no two lengths could be compared.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Literal, NamedTuple

import torch
from pydantic import Field

from attention_arena.measure import Measure, Measurement, Subject
from attention_arena.measures.passes import Lengths, Passes, batch_size_for, rows_or_reason
from attention_arena.variant import Options

WARM_UP_CALLS = 3
"""Calls before timing begins; the first ones choose kernels and grow the allocator."""
SHORTEST_BLOCK = 1e-3
"""Seconds; calls are timed in blocks at least this long, so that the clock's own cost does not count."""


class Interval(NamedTuple):
    """The median of some samples and the 95 % interval of the true median; no interval below 6 samples."""

    median: float
    low: float | None
    high: float | None


def median_interval(samples: Sequence[float]) -> Interval:
    """Return the median and its interval between order statistics, which assumes nothing of the distribution.

    The interval from the k-th smallest to the k-th largest of n samples misses the median with probability
    2 P(Binomial(n, 1/2) < k); k is the largest that keeps it to 5 %.
    """
    ordered, n = sorted(samples), len(samples)
    rank, below = 0, 0.0
    while rank < n and (below := below + math.comb(n, rank) / 2**n) <= 0.025:
        rank += 1
    if rank == 0:
        return Interval(median(ordered), None, None)
    return Interval(median(ordered), ordered[rank - 1], ordered[n - rank])


def time_calls(
    function: Callable[[], object], device: torch.device, *, repetitions: int, min_seconds: float
) -> list[float]:
    """Return seconds per call, one sample for each of at least `repetitions` blocks that span `min_seconds` or more.

    The device is waited for before the clock is read. Warm-up calls are not among the samples.
    """
    wait: Callable[[], object] = (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else lambda: None

    def block(n_calls: int) -> float:
        wait()
        began = time.perf_counter()
        for _ in range(n_calls):
            function()
        wait()
        return time.perf_counter() - began

    fastest = min(block(1) for _ in range(WARM_UP_CALLS))
    n_calls = max(1, math.ceil(SHORTEST_BLOCK / max(fastest, 1e-9)))
    samples: list[float] = []
    spent = 0.0
    while len(samples) < repetitions or spent < min_seconds:
        seconds = block(n_calls)
        spent += seconds
        samples.append(seconds / n_calls)
    return samples


class SpeedOptions(Options):
    """Options of the speed measure."""

    lengths: Lengths = Field(None, description="tokens in a sequence; null measures the task's own length")
    tokens_per_step: int = Field(8192, ge=1, description="tokens in a batch, the same at every length")
    phases: list[Literal["inference", "training"]] = Field(
        ["inference", "training"], min_length=1, description="a forward pass, a whole training step, or both"
    )
    min_seconds: float = Field(0.5, ge=0, description="shortest time over all samples of a cell")
    repetitions: int = Field(10, ge=1, description="fewest samples of a cell; an interval needs 6")


def measure_speed(options: SpeedOptions, subject: Subject) -> Sequence[Measurement]:
    """Return, at each length and in each phase, tokens per second and milliseconds per step."""
    rows: list[Measurement] = []
    for length in options.lengths or [subject.length]:
        size = batch_size_for(subject, options.tokens_per_step, length)
        for phase in options.phases:
            blank = [
                Measurement("speed", phase, None, "tokens/s", length, size, higher_is_better=True, samples=0),
                Measurement("step_time", phase, None, "ms", length, size, higher_is_better=False, samples=0),
            ]
            rows += rows_or_reason(blank, partial(_measure_cell, options, subject, blank))
    return rows


def _measure_cell(options: SpeedOptions, subject: Subject, blank: Sequence[Measurement]) -> Sequence[Measurement]:
    speed, step_time = blank
    passes = Passes.of(subject, speed)
    call = {"inference": passes.inference, "training": passes.step}[speed.phase]
    samples = time_calls(call, subject.device, repetitions=options.repetitions, min_seconds=options.min_seconds)
    rates = median_interval([passes.n_tokens / seconds for seconds in samples])
    times = median_interval([1e3 * seconds for seconds in samples])
    n = len(samples)
    return [
        speed._replace(value=rates.median, low=rates.low, high=rates.high, samples=n),
        step_time._replace(value=times.median, low=times.low, high=times.high, samples=n),
    ]


SPEED = Measure(
    name="speed",
    summary="tokens per second and milliseconds per step, in inference and in training, at fixed tokens per step",
    options=SpeedOptions,
    run=measure_speed,
)
