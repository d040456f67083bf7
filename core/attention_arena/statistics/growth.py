"""How a cost grows with length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from attention_arena.statistics.intervals import Interval, critical

FEWEST = 4
"""Points that an exponent is fitted to at least, where there are as many: fewer say little of their scatter."""


class Point(NamedTuple):
    """A cost, or a ratio of two, at a length, with the ends of its 95 % interval where it has one."""

    length: float
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def distances(self) -> tuple[float | None, float | None]:
        """How far the interval reaches below the value and above it."""
        below = None if self.low is None else self.value - self.low
        return below, None if self.high is None else self.high - self.value

    @property
    def reaches(self) -> tuple[float, float] | None:
        """How far the interval reaches below the value and above it, in logarithms; None without one."""
        if self.low is None or self.high is None or self.low <= 0:
            return None
        return math.log(self.value / self.low), math.log(self.high / self.value)


def ordered(points: Sequence[Point]) -> list[Point]:
    """Return the points by length; raises ValueError unless lengths and values are positive and finite."""
    for point in points:
        if not (0 < point.length < math.inf and 0 < point.value < math.inf):
            raise ValueError(f"lengths and values must be positive and finite, got {point.value} at {point.length}")
    return sorted(points, key=lambda point: point.length)


def upper_half(points: Sequence[Point]) -> list[Point]:
    """Return the points in the upper half of the lengths, on a logarithmic axis, or the `FEWEST` longest if more.

    A claim is of long sequences. Short ones cost mostly what grows with the first power of length (projections, calls
    of a step), so a fit over all lengths is biased towards 1.
    """
    by_length = ordered(points)
    middle = math.sqrt(by_length[0].length * by_length[-1].length)
    # Rounding of the root must not leave out a length that is the middle.
    upper = [point for point in by_length if point.length >= middle * (1 - 1e-9)]
    return upper if len(upper) >= FEWEST else by_length[-FEWEST:]


def excess(points: Sequence[Point], others: Sequence[Point]) -> list[Point]:
    """Return value less value at the lengths that both have, each measured on its own; negative ones too.

    The interval is that of a difference of independent values; there is none where one of the two has none.
    """
    by_length = {other.length: other for other in others}
    found = []
    for point in points:
        other = by_length.get(point.length)
        if other is None:
            continue
        value, low, high = point.value - other.value, None, None
        (down, up), (other_down, other_up) = point.distances, other.distances
        if down is not None and up is not None and other_down is not None and other_up is not None:
            low, high = value - math.hypot(down, other_up), value + math.hypot(up, other_down)
        found.append(Point(point.length, value, low, high))
    return found


def exponent(points: Sequence[Point]) -> Interval:
    """Return e of the power law value ~ length^e, fitted by least squares in log-log space.

    Its interval is the wider of two: Student's t interval by the points' scatter about the line, which holds where the
    curve bends or points vary more than they admit; and what their own intervals imply, which holds where they vary
    more at one length than at another, or too few are left to scatter. Of two points only the second is known.
    Raises ValueError unless there are two different lengths, all lengths and values positive.
    """
    points = ordered(points)
    if len({point.length for point in points}) < 2:
        raise ValueError(
            f"an exponent needs at least 2 different lengths, got {sorted({point.length for point in points})}"
        )
    x = [math.log(point.length) for point in points]
    y = [math.log(point.value) for point in points]
    middle = math.fsum(x) / len(x)
    spread = math.fsum((each - middle) ** 2 for each in x)
    # The slope is a weighted sum of the logarithms of values.
    weights = [(each - middle) / spread for each in x]
    slope = math.fsum(weight * each for weight, each in zip(weights, y, strict=True))
    halves = [half for half in (_by_scatter(x, y, slope, spread), _by_points(points, weights)) if half is not None]
    if not halves:
        return Interval(slope, None, None, len(points), "none")
    return Interval(slope, slope - max(halves), slope + max(halves), len(points), "points")


def _by_scatter(x: Sequence[float], y: Sequence[float], slope: float, spread: float) -> float | None:
    """Return half of the t interval of a slope, from the residuals about its line."""
    n = len(x)
    if n == 2:
        return None
    offset = (math.fsum(y) - slope * math.fsum(x)) / n
    squares = math.fsum((v - offset - slope * u) ** 2 for u, v in zip(x, y, strict=True))
    return critical(n - 2) * math.sqrt(squares / (n - 2) / spread)


def _by_points(points: Sequence[Point], weights: Sequence[float]) -> float | None:
    """Return half of the interval that the points' own ones imply for a sum of their logarithms with these weights."""
    reaches = [point.reaches for point in points]
    halves = [sum(each) / 2 for each in reaches if each is not None]
    if len(halves) < len(points):
        return None
    return math.sqrt(math.fsum((weight * half) ** 2 for weight, half in zip(weights, halves, strict=True)))
