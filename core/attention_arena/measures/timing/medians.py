"""The median of samples, and the interval of the true one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

FEWEST = 6
"""Samples that an interval needs."""
MOST_CORRELATION = 0.9


class Interval(NamedTuple):
    """The median of some samples and the 95 % interval of the true median; no interval below 6 samples."""

    median: float
    low: float | None
    high: float | None


def median_interval(samples: Sequence[float]) -> Interval:
    """Return the median and its interval between order statistics, which assumes nothing of the distribution.

    The interval from the k-th smallest to the k-th largest of n samples misses the median with probability
    2 P(Binomial(n, 1/2) < k); k is the largest that keeps it to 5 %.
    """
    ordered, n = sorted(samples), len(samples)
    rank = _rank(n)
    if rank == 0:
        return Interval(median(ordered), None, None)
    return Interval(median(ordered), ordered[rank - 1], ordered[n - rank])


def series_interval(samples: Sequence[float]) -> Interval:
    """Return the same of samples in the order in which they were taken, wider where one resembles the one before.

    Where the ranks of neighbours correlate by r > 0, n samples count as n (1 - r) / (1 + r), 6 at least, as in the
    variance of the mean of a first-order autoregression, and the interval takes the same share of the ordered samples
    as that many independent ones would. Ranks, so that one outlier does not hide the correlation of the others.
    """
    n = len(samples)
    if n < FEWEST:
        return Interval(median(samples), None, None)
    ordered = sorted(samples)
    r = min(max(_neighbour_correlation([ordered.index(sample) for sample in samples]), 0.0), MOST_CORRELATION)
    counted = max(FEWEST, math.floor(n * (1 - r) / (1 + r)))
    rank = max(1, math.floor(_rank(counted) * n / counted))
    return Interval(median(ordered), ordered[rank - 1], ordered[n - rank])


def _neighbour_correlation(ranks: Sequence[int]) -> float:
    """Return the correlation of each rank with the next; 1/n is added, because it is that much too low on average."""
    n, mean = len(ranks), sum(ranks) / len(ranks)
    deviations = [rank - mean for rank in ranks]
    total = sum(each * each for each in deviations)
    products = sum(each * after for each, after in pairwise(deviations))
    return products / total + 1 / n if total else 0.0


def _rank(n: int) -> int:
    """Return the largest k with 2 P(Binomial(n, 1/2) < k) <= 5 %, 0 where there is none."""
    rank, below = 0, 0.0
    while rank < n and (below := below + math.comb(n, rank) / 2**n) <= 0.025:
        rank += 1
    return rank
