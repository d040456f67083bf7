"""Times of several implementations that take turns, so that whatever slows the machine for a while slows them all.

CPU seconds of the process on one thread, the lowest of several samples: on a shared machine that is steadier than wall
time, and the lowest is the one least disturbed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from attention_arena.measures.timing.stopwatch import undisturbed

Call = Callable[[], object]


@dataclass
class Samples:
    """Seconds of each call of one implementation, and what ended its sampling."""

    seconds: list[float] = field(default_factory=list)
    error: Exception | None = None

    @property
    def lowest(self) -> float | None:
        """The lowest, if there is any."""
        return min(self.seconds, default=None)


@dataclass(frozen=True)
class Effort:
    """How often to sample each implementation, whatever the others take.

    `fewest` times at least, but once if that takes longer than `long_call` seconds. Then up to `samples` times, or
    longer, up to ten times as often, until `short` seconds are spent on it; but not after `budget` seconds.
    """

    samples: int = 5
    fewest: int = 2
    budget: float = 2.0
    short: float = 0.25
    long_call: float = 45.0

    def wants_more(self, seconds: Sequence[float]) -> bool:
        """Whether another sample is due after those of so many `seconds`."""
        n, spent = len(seconds), sum(seconds)
        if n and seconds[0] > self.long_call:
            return False
        if n < self.fewest:
            return True
        if spent >= self.budget:
            return False
        return n < self.samples or (spent < self.short and n < 10 * self.samples)


def take_turns(calls: Mapping[str, Call], effort: Effort, clock: Callable[[], float]) -> dict[str, Samples]:
    """Return samples of each call, taken in turn; a call that raises is not called again, and its error is kept."""
    taken = {name: Samples() for name in calls}

    def due(samples: Samples) -> bool:
        return samples.error is None and effort.wants_more(samples.seconds)

    while waiting := [name for name, samples in taken.items() if due(samples)]:
        for name in waiting:
            start = clock()
            try:
                calls[name]()
            # Foreign code, which can fail in any way.
            except Exception as error:
                taken[name].error = error
                continue
            taken[name].seconds.append(clock() - start)
    return taken


def cpu_clock() -> float:
    """Return CPU seconds of this process so far."""
    return time.process_time()


def wall_clock() -> float:
    """Return seconds of a clock on the wall."""
    return time.perf_counter()


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Let PyTorch use `n` threads, and keep the garbage collector from starting by itself."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        with undisturbed():
            yield
    finally:
        torch.set_num_threads(before)
