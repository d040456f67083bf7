"""The largest size whose cost stays within a budget, found in few and expensive attempts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from attention_arena.measure import Answer, CellStatus

FARTHEST = 16
"""Times the largest size that fitted; no attempt goes beyond, for a prediction from small sizes can be far off."""


class Largest(NamedTuple):
    """What a search found: `size` is None where it was not bracketed, and `detail` says what is known."""

    size: int | None
    status: CellStatus
    detail: str
    n_attempts: int


class Search:
    """Looks for the largest size from 1 up that fits; size costs more the larger it is.

    `attempt(size)` returns the cost, in the units of `budget`, or why there is none: out of memory means that it does
    not fit; any other reason ends the search, as nothing is known of larger sizes then. It ends too when a size fits
    and one larger by the fraction `resolution`, or by 1, does not, or after `at_most` attempts.

    The next size is where a curve through the two nearest costs meets the budget, checked from both sides. Where that
    did not halve the interval (of logarithms), the next attempt does.
    """

    def __init__(self, attempt: Callable[[int], Answer], budget: float, resolution: float, at_most: int) -> None:
        self.attempt, self.budget, self.resolution, self.at_most = attempt, budget, resolution, at_most
        self.costs: dict[int, float] = {}
        self.low, self.high = 0, 0
        """The largest size that fitted and the smallest that did not; 0 where there is none yet."""
        self.narrowness = 0.0
        """Their ratio before the last attempt, 0 where one of them was missing."""

    def run(self, start: int) -> Largest:
        """Search from `start` on."""
        size = start
        for n_attempts in range(1, self.at_most + 1):
            answer = self.attempt(size)
            if answer.status not in ("done", "oom"):
                return Largest(None, answer.status, self._known(f"at {size:,}: {answer.detail}"), n_attempts)
            self._note(size, answer)
            if self.high and self.high - self.low <= self._step(self.low):
                return self._found(n_attempts)
            size = self._next()
        return Largest(None, "timeout", self._known(f"{self.at_most} attempts did not narrow it down"), self.at_most)

    def _note(self, size: int, answer: Answer) -> None:
        if answer.status == "done":
            self.costs[size] = float(answer.value)
        if answer.status == "done" and self.costs[size] <= self.budget:
            self.low = size
        else:
            self.high = size

    def _found(self, n_attempts: int) -> Largest:
        if not self.low:
            return Largest(None, "oom", f"not even {self.high:,} fits", n_attempts)
        return Largest(self.low, "done", f"{self.low:,} fits, {self.high:,} does not", n_attempts)

    def _known(self, reason: str) -> str:
        bounds = [f"{self.low:,} fits"] if self.low else []
        bounds += [f"{self.high:,} does not"] if self.high else []
        return "; ".join([*bounds, reason])

    def _step(self, size: int) -> int:
        return max(1, int(self.resolution * size))

    def _next(self) -> int:
        target = self._predicted()
        if not self.high:
            # A cost that hardly grows yet is cheap, so the step may be large.
            wanted = 4 * self.low if target is None else max(self.low + self._step(self.low), target)
            return min(wanted, FARTHEST * self.low)
        if not self.low:
            return max(1, self.high // 4)
        narrowness = self.low / self.high
        helped = narrowness >= math.sqrt(self.narrowness)
        self.narrowness = narrowness
        if target is None or not helped:
            return min(max(self.low + 1, round(math.sqrt(self.low * self.high))), self.high - 1)
        step = self._step(self.low)
        return min(max(target, self.low + step), max(self.high - step, self.low + 1))

    def _predicted(self) -> int | None:
        """Return the size at which the curve through the two costs nearest to the budget meets it.

        A line where cost grows less than in proportion, as a fixed part under it does; a power law where it grows more.
        """
        if len(self.costs) < 2:
            return None
        near = sorted(self.costs, key=lambda size: abs(math.log(self.costs[size] / self.budget)))[:2]
        small, large = sorted(near)
        rise = self.costs[large] - self.costs[small]
        if rise <= 0.01 * self.costs[small]:
            return None
        exponent = math.log(self.costs[large] / self.costs[small]) / math.log(large / small)
        if exponent < 1:
            return int(large + (self.budget - self.costs[large]) / rise * (large - small))
        return int(large * (self.budget / self.costs[large]) ** (1 / exponent))
