"""Means of shares."""

from __future__ import annotations

from collections.abc import Sequence

from attention_arena.statistics import Interval, mean_interval


def mean_share(shares: Sequence[float]) -> Interval:
    """Return the mean of independent shares with Student's t interval, cut to [0, 1], where shares lie."""
    mean = mean_interval(shares)
    if mean.low is None or mean.high is None:
        return mean
    return mean._replace(low=max(0.0, mean.low), high=min(1.0, mean.high))
