"""What may be said of numbers that vary: means, proportions, differences and growth, each with its 95 % interval."""

from attention_arena.statistics.best import Behind, behind_best
from attention_arena.statistics.break_even import BreakEven, break_even, cost_ratios
from attention_arena.statistics.growth import Point, excess, exponent, upper_half
from attention_arena.statistics.intervals import (
    LEVEL,
    Interval,
    geometric_mean,
    mean_interval,
    score_interval,
    wilson_interval,
)
from attention_arena.statistics.paired import Comparison, compare, holm
from attention_arena.statistics.quotients import Quotient, quotient_of
from attention_arena.statistics.unpaired import compare_unpaired

__all__ = [
    "LEVEL", "Behind", "BreakEven", "Comparison", "Interval", "Point", "Quotient", "behind_best", "break_even",
    "compare", "compare_unpaired", "cost_ratios", "excess", "exponent", "geometric_mean", "holm", "mean_interval",
    "quotient_of", "score_interval", "upper_half", "wilson_interval",
]  # fmt: skip
