"""From which length on one cost is the smaller of two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from attention_arena.statistics.growth import Point, ordered

ROUNDING = 1e-12
"""By which a computed crossing may miss the length that it is at, as a share of the way to the next."""


class BreakEven(NamedTuple):
    """The length from which on one cost stays below another, up to the longest length of the two."""

    verdict: Literal["found", "none", "always"]
    """`none`: at the longest length it is not below; `always`: it is below from the shortest length on."""
    value: float | None
    """None unless found."""
    low: float | None
    """Lower end of the 95 % interval; None where it lies below the shortest length."""
    high: float | None
    """Upper end of the 95 % interval; None where it lies beyond the longest length."""
    shortest: float
    longest: float
    basis: Literal["points", "none"]
    """`points`: the interval follows from those of the ratios; `none`: too few have one, and both ends are None."""


def cost_ratios(costs: Sequence[Point], others: Sequence[Point]) -> list[Point]:
    """Return cost over cost at the lengths that both have, each measured on its own.

    The interval is that of a difference of logarithms; there is none where one of the two has none.
    """
    by_length = {point.length: point for point in others}
    ratios = []
    for cost in costs:
        other = by_length.get(cost.length)
        if other is None:
            continue
        value, low, high = cost.value / other.value, None, None
        if cost.reaches is not None and other.reaches is not None:
            (down, up), (other_down, other_up) = cost.reaches, other.reaches
            low, high = value * math.exp(-math.hypot(down, other_up)), value * math.exp(math.hypot(up, other_down))
        ratios.append(Point(cost.length, value, low, high))
    return ratios


def break_even(ratios: Sequence[Point]) -> BreakEven:
    """Return the length from which on the ratio of two costs stays below 1, by interpolation in log-log space.

    Where the ratio crosses 1 more than once, the last crossing counts. The interval begins where the ratio was last
    surely above 1 and ends where it is surely below from then on. Between two lengths their errors are taken as
    independent, so the ends are those of Fieller's interval. Where a few ratios have no interval, having too few
    samples, the widest of the others stands for theirs; where half of them or more have none, nor has the break-even.
    Raises ValueError without a ratio, or where one is not positive.
    """
    if not ratios:
        raise ValueError("a break-even needs the ratio at 1 length at least, got none")
    points = ordered(ratios)
    shortest, longest = points[0].length, points[-1].length
    exactly = _last_crossing(points, [0.0] * len(points), 1)
    verdict: Literal["found", "none", "always"] = "found"
    if points[-1].value >= 1:
        verdict, exactly = "none", None
    elif exactly is None:
        verdict = "always"
    known = [each for point in points if (each := point.reaches) is not None]
    if 2 * len(known) <= len(points):
        return BreakEven(verdict, exactly, None, None, shortest, longest, "none")
    widest = max(down for down, _ in known), max(up for _, up in known)
    downs, ups = zip(*(point.reaches or widest for point in points), strict=True)
    low, high = _last_crossing(points, downs, 1), _last_crossing(points, ups, -1)
    if math.log(points[-1].value) - downs[-1] >= 0:
        low = longest
    if math.log(points[-1].value) + ups[-1] >= 0:
        high = None
    elif high is None:
        high = shortest
    return BreakEven(verdict, exactly, low, high, shortest, longest, "points")


def _last_crossing(points: Sequence[Point], reaches: Sequence[float], side: Literal[-1, 1]) -> float | None:
    """Return the longest length at which the log ratio is `side` times its reach, or None where it never is.

    With m and a the log ratio and its reach at one length, m + s and b at the next, it is where
    (m + t s)^2 = ((1 - t) a)^2 + (t b)^2, t being the share of the way from one to the other.
    """
    logs = [math.log(point.value) for point in points]
    found = None
    for i, ((m, after), (a, b)) in enumerate(zip(pairwise(logs), pairwise(reaches), strict=True)):
        s = after - m
        for t in _roots(s * s - a * a - b * b, m * s + a * a, m * m - a * a) if a or b else _root(s, m):
            if -ROUNDING <= t <= 1 + ROUNDING and side * (m + t * s) >= -ROUNDING:
                length = points[i].length ** (1 - t) * points[i + 1].length ** t
                found = length if found is None else max(found, length)
    return found


def _root(a: float, b: float) -> list[float]:
    """Return the root of a x + b, if it has one."""
    return [-b / a] if a else []


def _roots(a: float, half_b: float, c: float) -> list[float]:
    """Return the real roots of a x^2 + 2 half_b x + c."""
    inner = half_b * half_b - a * c
    if inner < 0:
        return []
    # Not the usual pair of formulas, one of which cancels where `a` is small.
    q = -half_b - math.copysign(math.sqrt(inner), half_b)
    return ([q / a] if a else []) + ([c / q] if q else [])
