"""One cell of a curve: the run's own work timed beside the same work of the baseline, in several visits.

A machine is in one state for a while and then in another (a neighbour computes, the clock slows), and a state does not
slow all work alike. Within a visit the two take turns, so that the state is the same for both. A cell is visited
several times, and other cells in between, so that it meets several states; each visit builds its models anew. The
visits, and not the single calls, are the sample from which intervals are made.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

from attention_arena.measures.budget import memory_budget
from attention_arena.measures.passes import Reason, value_or_reason
from attention_arena.measures.timing.medians import FEWEST, series_interval
from attention_arena.measures.timing.reach import Reach
from attention_arena.measures.timing.stopwatch import Call, Stopwatch, block_size, take_turns, undisturbed, warm_up

MOST_VISITS = 3
"""Times the visits asked for, to narrow an interval."""


class Effort(NamedTuple):
    """How long to sample a cell: so many visits, and so many seconds of the run's own work over all of them.

    Where these are enough for an interval of the ratio, more follow, up to `MOST_VISITS` times as many, while it
    reaches further than `tolerance`, a share of the ratio. No visit begins once the cell has taken `max_seconds`.
    """

    visits: int
    min_seconds: float
    max_seconds: float
    tolerance: float


@dataclass
class Side:
    """One of the two whose work is timed."""

    length: int
    prepare: Callable[[], Call]
    """Builds what the work needs, and returns the work."""
    reach: Reach
    reason: Reason | None = None
    """Why it is not timed, once that is known."""
    seconds: float | None = None
    """Of the fastest call of the last warm-up."""

    def open(self, stopwatch: Stopwatch) -> Call | None:
        """Return the work, warm, or None where `reason` says why there is none."""
        if self.seconds is None and self.reason is None:
            self.reason = self.reach.refusal(self.length)
        if self.reason is not None:
            return None
        found = value_or_reason(lambda: self._warm(stopwatch))
        if isinstance(found, Reason):
            self.fail(found)
            return None
        call, self.seconds = found
        self.reach.took(self.length, self.seconds)
        return call

    def fail(self, reason: Reason) -> None:
        """Note that it is not timed any more, and why."""
        self.reason = reason
        self.reach.failed(self.length, reason)

    def _warm(self, stopwatch: Stopwatch) -> tuple[Call, float]:
        call = self.prepare()
        return call, warm_up(call, stopwatch, self.reach.max_seconds)


class Visit(NamedTuple):
    """Medians over the rounds of one visit: seconds of a call, and own over baseline where both were timed."""

    own: float
    ratio: float | None


@dataclass
class Contest:
    """The run's own work and, unless there is none, the baseline's."""

    own: Side
    baseline: Side | None
    stopwatch: Stopwatch
    effort: Effort
    memory_limit: int | None
    visits: list[Visit] = field(default_factory=list)
    spent: float = 0.0
    sampled: float = 0.0

    def visit(self) -> None:
        """Build both, warm them up and let them take turns; a side that fails has its `reason` afterwards."""
        began = time.perf_counter()
        with memory_budget(self.memory_limit):
            own = self.own.open(self.stopwatch)
            if own is not None:
                beside = self.baseline.open(self.stopwatch) if self.baseline is not None else None
                self._take_turns(own, beside)
        gc.collect(1)  # Optimiser and model refer to each other, so they do not go by themselves.
        self.spent += time.perf_counter() - began

    def wants_more(self) -> bool:
        """Whether another visit is due."""
        n, fewest = len(self.visits), self.effort.visits
        if self.own.reason is not None or self.spent >= self.effort.max_seconds:
            return False
        if n < fewest or self.sampled < self.effort.min_seconds:
            return True
        if fewest < FEWEST or n >= MOST_VISITS * fewest:
            return False
        # Not looked at after every visit: the more often one looks, the likelier a narrow interval is chance.
        return (n - fewest) % (fewest // 3) != 0 or not self._is_precise()

    def own_seconds(self) -> list[float]:
        """Return the seconds of a call, one value a visit."""
        return [visit.own for visit in self.visits]

    def ratios(self) -> list[float]:
        """Return own over baseline, one value for each visit that timed both."""
        return [visit.ratio for visit in self.visits if visit.ratio is not None]

    def _is_precise(self) -> bool:
        ratios = self.ratios()
        if not ratios:
            return True
        value, low, high = series_interval(ratios)
        return low is not None and high is not None and high - low <= 2 * self.effort.tolerance * value

    def _take_turns(self, own: Call, beside: Call | None) -> None:
        sides = [self.own] if self.baseline is None or beside is None else [self.own, self.baseline]
        calls = [own] if beside is None else [own, beside]
        sizes = [block_size(side.seconds or 0.0) for side in sides]
        seconds = self.effort.min_seconds / self.effort.visits
        turned = len(self.visits) % 2 == 1
        found = value_or_reason(lambda: take_turns(calls, sizes, self.stopwatch, seconds, turned=turned))
        if isinstance(found, Reason):
            # Each ran alone, so it is the second that does not fit beside the first.
            sides[-1].fail(found)
            return
        self.sampled += sum(found[0]) * sizes[0]
        ratio = median(a / b for a, b in zip(*found, strict=True)) if len(found) == 2 else None
        self.visits.append(Visit(median(found[0]), ratio))


def settle(contests: Sequence[Contest]) -> None:
    """Visit the contests in turn until none wants more; shorter lengths first, which foretell what longer ones take."""
    waiting = sorted(contests, key=lambda contest: contest.own.length)
    with undisturbed():
        while waiting:
            for contest in waiting:
                contest.visit()
            waiting = [contest for contest in waiting if contest.wants_more()]
