"""The mean of values that follow each other in a text, where neighbours resemble each other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from attention_arena.statistics.intervals import Interval
from attention_arena.statistics.quotients import MOST_BLOCKS
from attention_arena.statistics.ratios import ratio_interval


def series_interval(values: npt.ArrayLike) -> Interval:
    """Return the mean of `values` (N,) in the order of a text, with the t interval over at most 40 blocks of it."""
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    n_blocks = min(n, MOST_BLOCKS)
    bounds = np.arange(n_blocks + 1) * n // max(n_blocks, 1)
    totals = np.add.reduceat(values, bounds[:-1]) if n else values
    return ratio_interval(totals.tolist(), np.diff(bounds).tolist())._replace(n=n)
