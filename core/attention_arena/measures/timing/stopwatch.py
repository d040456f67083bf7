"""Seconds of a piece of work: the clock, the warm-up, and two pieces of work that take turns."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch

Call = Callable[[], object]
Stopwatch = Callable[[Call, int], float]
"""(work, n) -> seconds that n calls of it take, one after the other."""

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
SHORTEST_BLOCK = 0.01
"""Seconds; calls are timed in blocks of about this length at least, so that the first call's cold caches and the
clock's own cost hardly count."""
MOST_CALLS = 1000
"""In a block; a clock that sees next to nothing of the work shall not make it endless."""

WARM_UP_CALLS = 3
WARM_UP_SECONDS = 0.05


class OverTimeError(RuntimeError):
    """Some work took longer than it may."""

    def __init__(self, work: str, seconds: float, most: float) -> None:
        super().__init__(f"{work} took {seconds:.3g} s, more than max_seconds ({most:g})")


def stopwatch_for(device: torch.device, clock: Literal["wall", "cpu"] = "wall") -> Stopwatch:
    """Return what times work on a device: CUDA events on a GPU, and on a CPU the clock asked for.

    Events stand in the GPU's own queue around the work, so they tell when it began and ended there; the queue is empty
    when the first is put in. The CPU clock counts the processor seconds of all threads of this process, which on
    several threads is not how long one waits.
    """
    if device.type == "cuda":
        return lambda call, n_calls: _seconds_between_events(call, n_calls, device)
    read = CLOCKS[clock]

    def seconds(call: Call, n_calls: int) -> float:
        began = read()
        for _ in range(n_calls):
            call()
        return read() - began

    return seconds


def _seconds_between_events(call: Call, n_calls: int, device: torch.device) -> float:
    with torch.cuda.device(device):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        began.record()
        for _ in range(n_calls):
            call()
        ended.record()
        ended.synchronize()
    return float(began.elapsed_time(ended)) / 1e3


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep Python's garbage collector from starting by itself.

    What exists beforehand is set apart from it, so that a collection inside looks at what is new alone.
    """
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()


def warm_up(call: Call, stopwatch: Stopwatch, most: float) -> float:
    """Call a few times, and return the seconds of the fastest call; OverTimeError when one takes more than `most`.

    The first calls choose kernels, make the optimiser's state and grow the allocator. Where a call is long, that is
    little of it, and one is enough.
    """
    seconds: list[float] = []
    while len(seconds) < WARM_UP_CALLS and sum(seconds) < WARM_UP_SECONDS:
        seconds.append(stopwatch(call, 1))
        if seconds[-1] > most:
            raise OverTimeError("one call", seconds[-1], most)
    return min(seconds)


def block_size(seconds: float) -> int:
    """Return how many calls of so many seconds make up a block, `MOST_CALLS` at most."""
    return math.ceil(min(max(SHORTEST_BLOCK / max(seconds, 1e-9), 1), MOST_CALLS))


def take_turns(
    calls: Sequence[Call], sizes: Sequence[int], stopwatch: Stopwatch, seconds: float, *, turned: bool = False
) -> list[list[float]]:
    """Return, for each call, seconds per call in each of several rounds, in which each times a block of `sizes` calls.

    The order turns round from one round to the next (A B, B A, ...), `turned` from the start, so that whatever slows
    the machine for a while slows all of them. Rounds go on until the first call has been timed for `seconds`.
    """
    taken: list[list[float]] = [[] for _ in calls]
    spent = 0.0
    while not taken[0] or spent < seconds:
        order = range(len(calls))
        for i in reversed(order) if turned else order:
            block = stopwatch(calls[i], sizes[i])
            taken[i].append(block / sizes[i])
            spent += block if i == 0 else 0.0
        turned = not turned
    return taken
