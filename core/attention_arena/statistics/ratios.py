"""A mean over tokens that come in blocks: what varies independently is the block, not the token."""

from __future__ import annotations

import math
from collections.abc import Sequence

from attention_arena.statistics.intervals import Interval, critical, finite


def ratio_interval(totals: Sequence[float], counts: Sequence[float]) -> Interval:
    """Return sum(totals) / sum(counts) over independent blocks with the t interval of that ratio.

    The deviation is the ratio estimator's (Cochran 1977, Sampling Techniques, chapter 6); with blocks of one size it is
    that of their mean. One block has no interval. Raises ValueError unless there are tokens and all is finite.
    """
    totals, counts = finite(totals), finite(counts)
    if len(totals) != len(counts):
        raise ValueError(f"expected one count a total, got {len(totals)} totals and {len(counts)} counts")
    n, whole = len(totals), math.fsum(counts)
    if min(counts) < 0 or not whole:
        raise ValueError("counts must be 0 or more, and some above 0")
    ratio = math.fsum(totals) / whole
    if n == 1:
        return Interval(ratio, None, None, 1, "none")
    squares = math.fsum((total - ratio * count) ** 2 for total, count in zip(totals, counts, strict=True))
    half = critical(n - 1) * math.sqrt(squares * n / (n - 1)) / whole
    return Interval(ratio, ratio - half, ratio + half, n, "blocks")
