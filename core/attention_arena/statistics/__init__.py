"""What may be said of numbers that vary: means, proportions and growth, each with its 95 % interval."""

from attention_arena.statistics.growth import exponent
from attention_arena.statistics.intervals import (
    LEVEL,
    Interval,
    geometric_mean,
    mean_interval,
    score_interval,
    wilson_interval,
)

__all__ = ["LEVEL", "Interval", "exponent", "geometric_mean", "mean_interval", "score_interval", "wilson_interval"]
