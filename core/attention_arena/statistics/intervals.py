"""Means and proportions with their 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
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
    """`seeds`: t interval of the mean over seeds; `examples`: interval of one trained model's score over its test
    examples; `seeds and examples`: both; `points`: t interval of a fitted slope; `none`: no interval."""

    def times(self, factor: float) -> Interval:
        """Return the interval in a unit of which `factor` make one of the present one."""
        low, high = (None if end is None else end * factor for end in (self.low, self.high))
        return self._replace(value=self.value * factor, low=low, high=high)

    def overlaps(self, other: Interval) -> bool | None:
        """Whether the two intervals share a point; None where either has none."""
        if self.low is None or self.high is None or other.low is None or other.high is None:
            return None
        return self.low <= other.high and other.low <= self.high


def critical(degrees: float = math.inf, outside: float = 1 - LEVEL) -> float:
    """Return the quantile of Student's t, or of the normal, beyond which in both directions lies `outside`."""
    if math.isinf(degrees):
        return -NormalDist().inv_cdf(outside / 2)
    from scipy.special import stdtrit

    return -float(stdtrit(degrees, outside / 2))


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean of independent values with Student's t interval; one value has no interval."""
    values = finite(values)
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean, None, None, 1, "none")
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    half = critical(n - 1) * math.sqrt(variance / n)
    return Interval(mean, mean - half, mean + half, n, "seeds")


def wilson_interval(proportion: float, n: float) -> Interval:
    """Return a proportion of `n` independent trials with its score interval (Wilson 1927), which stays in [0, 1].

    `n` need not be whole: dependent trials count for less than their number.
    """
    if n < 1:
        raise ValueError(f"a proportion needs at least 1 trial, got {n}")
    if not 0.0 <= proportion <= 1.0:
        raise ValueError(f"a proportion lies between 0 and 1, got {proportion}")
    z = critical()
    centre = (proportion + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(proportion * (1 - proportion) / n + z * z / (4 * n * n))
    # At 0 and 1 one end equals the proportion exactly, which rounding would miss by an ulp.
    low = 0.0 if proportion == 0.0 else max(0.0, centre - half)
    high = 1.0 if proportion == 1.0 else min(1.0, centre + half)
    return Interval(proportion, low, high, int(n), "examples")


def score_interval(values: Sequence[float], within: Sequence[Interval] = (), whole: float | None = None) -> Interval:
    """Return a score's mean over seeds with an interval for what another training and another test set would give.

    `within` has one interval a seed, of that trained model over its test examples. One seed has that one alone, if any.
    With more, each end lies from the mean by the root of two squares: half of the t interval over seeds, and the
    distance (root mean square over seeds) to that end over examples (Banerjee 1961 for the sum; Zou & Donner 2008 for
    ends at unequal distances). It covers at least 95 %: exactly so where one of the two sources is all, more where both
    count. Seeds are scored on the same examples, whose chance does not shrink with the number of seeds, so their share
    is not divided by it. A share stays between 0 and `whole`.
    """
    over_seeds = mean_interval(values)
    inner = [(each.low, each.high) for each in within if each.low is not None and each.high is not None]
    if len(inner) != len(values):
        return over_seeds
    if over_seeds.low is None or over_seeds.high is None:
        return within[0]._replace(value=over_seeds.value)
    below = [value - low for value, (low, _) in zip(values, inner, strict=True)]
    above = [high - value for value, (_, high) in zip(values, inner, strict=True)]
    low = over_seeds.value - math.hypot(over_seeds.value - over_seeds.low, _root_mean_square(below))
    high = over_seeds.value + math.hypot(over_seeds.high - over_seeds.value, _root_mean_square(above))
    if whole is not None:
        low, high = max(low, 0.0), min(high, whole)
    return Interval(over_seeds.value, low, high, len(values), "seeds and examples")


def _root_mean_square(values: Sequence[float]) -> float:
    return math.sqrt(math.fsum(value * value for value in values) / len(values))


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of positive values: the mean under which ratios of means are means of ratios."""
    values = finite(values)
    if min(values) <= 0:
        raise ValueError("a geometric mean needs positive values")
    if len(set(values)) == 1:
        return values[0]  # to the last digit
    return math.exp(math.fsum(math.log(value) for value in values) / len(values))


def finite(values: Sequence[float]) -> list[float]:
    """Return the values as they are; raises ValueError where there is none, or one is not finite."""
    if not values:
        raise ValueError("at least 1 value is needed, got none")
    if not all(math.isfinite(value) for value in values):
        raise ValueError(f"values must be finite, got {list(values)}")
    return [float(value) for value in values]
