"""Times of several implementations that take turns, so that whatever slows the machine for a while slows them all.

CPU seconds of the process on one thread, the lowest of several samples: on a shared machine that is steadier than wall
time, and the lowest is the one least disturbed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
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
    """How often to sample.

    Every implementation is sampled `fewest` times, one that takes longer than `long_call` seconds once. Rounds go on to
    `samples` of them, or longer, up to ten times as many, until `short_cell` seconds are spent; but none begins after
    `budget` seconds.
    """

    samples: int = 5
    fewest: int = 2
    budget: float = 15.0
    short_cell: float = 3.0
    long_call: float = 45.0

    def wants_more(self, rounds: int, spent: float) -> bool:
        """Whether another round is due."""
        if rounds < self.fewest:
            return True
        if spent >= self.budget:
            return False
        return rounds < self.samples or (spent < self.short_cell and rounds < 10 * self.samples)


def take_turns(calls: Mapping[str, Call], effort: Effort, clock: Callable[[], float]) -> dict[str, Samples]:
    """Return samples of each call, taken in turn; a call that raises is not called again, and its error is kept."""
    taken = {name: Samples() for name in calls}
    rounds, spent = 0, 0.0
    while effort.wants_more(rounds, spent):
        for name, call in calls.items():
            samples = taken[name]
            if samples.error or (samples.seconds and samples.seconds[0] > effort.long_call):
                continue
            start = clock()
            try:
                call()
            # Foreign code, which can fail in any way.
            except Exception as error:
                samples.error = error
                continue
            samples.seconds.append(clock() - start)
            spent += samples.seconds[-1]
        rounds += 1
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
