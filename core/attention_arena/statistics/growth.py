"""How a cost grows with length."""

from __future__ import annotations

import math
from collections.abc import Sequence

from attention_arena.statistics.intervals import LEVEL, Interval


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> Interval:
    """Return e of the power law cost ~ size^e, fitted by least squares in log-log space, with its t interval.

    Needs two different sizes; all must be positive. Two points determine e without an interval.
    """
    from scipy import stats

    if len(sizes) != len(costs):
        raise ValueError(f"expected one cost a size, got {len(sizes)} sizes and {len(costs)} costs")
    if len(set(sizes)) < 2:
        raise ValueError(f"an exponent needs at least 2 different sizes, got {sorted(set(sizes))}")
    if min(*sizes, *costs) <= 0:
        raise ValueError("a power law is fitted to positive sizes and costs only")
    n = len(sizes)
    fit = stats.linregress([math.log(size) for size in sizes], [math.log(cost) for cost in costs])
    slope = float(fit.slope)
    if n == 2:
        return Interval(slope, None, None, n, "none")
    half = float(stats.t.ppf(0.5 + LEVEL / 2, n - 2)) * float(fit.stderr)
    return Interval(slope, slope - half, slope + half, n, "points")
