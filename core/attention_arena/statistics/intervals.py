"""Means and proportions with their 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

LEVEL = 0.95
"""Confidence of every interval in the project."""


class Interval(NamedTuple):
    """A value with the ends of its 95 % interval, which are None where nothing supports one."""

    value: float
    low: float | None
    high: float | None
    n: int
    """How many observations the interval rests on: seeds, examples or points; see `basis`."""
    basis: str
    """`seeds`: t interval of the mean over seeds; `examples`: Wilson interval of one run's proportion over its test
    examples; `points`: t interval of a fitted slope; `none`: no interval."""

    def overlaps(self, other: Interval) -> bool | None:
        """Whether the two intervals share a point; None where either has none."""
        if self.low is None or self.high is None or other.low is None or other.high is None:
            return None
        return self.low <= other.high and other.low <= self.high


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean of independent values with Student's t interval; one value has no interval."""
    from scipy import stats

    values = finite(values)
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean, None, None, 1, "none")
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    half = float(stats.t.ppf(0.5 + LEVEL / 2, n - 1)) * math.sqrt(variance / n)
    return Interval(mean, mean - half, mean + half, n, "seeds")


def wilson_interval(proportion: float, n: int) -> Interval:
    """Return a proportion of `n` independent trials with its score interval (Wilson 1927), which stays in [0, 1]."""
    from scipy import stats

    if n < 1:
        raise ValueError(f"a proportion needs at least 1 trial, got {n}")
    if not 0.0 <= proportion <= 1.0:
        raise ValueError(f"a proportion lies between 0 and 1, got {proportion}")
    z = float(stats.norm.ppf(0.5 + LEVEL / 2))
    centre = (proportion + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(proportion * (1 - proportion) / n + z * z / (4 * n * n))
    # At 0 and 1 one end equals the proportion exactly, which rounding would miss by an ulp.
    low = 0.0 if proportion == 0.0 else max(0.0, centre - half)
    high = 1.0 if proportion == 1.0 else min(1.0, centre + half)
    return Interval(proportion, low, high, n, "examples")


def score_interval(values: Sequence[float], examples: int | None = None, whole: float | None = None) -> Interval:
    """Return a score over seeds with the interval that its observations support, named in `basis`.

    Two seeds or more: the t interval of their mean. One seed and a score that is a proportion (`whole` is what all
    correct would be, 1 or 100) of a known number of `examples`: its Wilson interval. Otherwise no interval.
    """
    values = finite(values)
    if len(values) == 1 and whole and examples and 0.0 <= values[0] <= whole:
        share = wilson_interval(values[0] / whole, examples)
        assert share.low is not None
        assert share.high is not None
        return share._replace(value=values[0], low=share.low * whole, high=share.high * whole)
    return mean_interval(values)


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of positive values: the mean under which ratios of means are means of ratios."""
    values = finite(values)
    if min(values) <= 0:
        raise ValueError("a geometric mean needs positive values")
    return math.exp(math.fsum(math.log(value) for value in values) / len(values))


def finite(values: Sequence[float]) -> list[float]:
    """Return the values as they are; raises ValueError where there is none, or one is not finite."""
    if not values:
        raise ValueError("at least 1 value is needed, got none")
    if not all(math.isfinite(value) for value in values):
        raise ValueError(f"values must be finite, got {list(values)}")
    return [float(value) for value in values]
