"""Two groups of runs that share no examples, or none on record: how their means differ.

Each group's mean varies with training, by its seeds, and with what a single run's value rests on (test examples, the
repetitions of a timing), by the runs' own intervals. Each part enters by its own quantile and their squares add up
(Zou & Donner 2008, for ends at unequal distances): at least 95 %, whatever the parts are. Examples that the two groups
share would cancel in a paired comparison; here they count twice, which is on the safe side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from attention_arena.statistics.intervals import LEVEL, Interval, critical, mean_interval
from attention_arena.statistics.paired import Comparison, least_outside


class Part(NamedTuple):
    """One source of a mean's variation, as deviations on either side of it."""

    below: float
    above: float
    degrees: float


class Group(NamedTuple):
    """The mean of a group, and what makes it vary; nothing where that cannot be told."""

    mean: float
    parts: list[Part]


def compare_unpaired(mine: Sequence[Interval], theirs: Sequence[Interval], ratio: bool = False) -> Comparison | None:
    """Compare two groups of runs, one interval a run: mean of `mine` minus mean of `theirs`, or their ratio.

    A ratio is that of geometric means, and needs positive values. Returns None where the runs of either group have no
    interval of their own and are fewer than two, so that nothing says how they vary.
    """
    one, other = _group(mine, ratio), _group(theirs, ratio)
    if not one.parts or not other.parts:
        return None
    difference = one.mean - other.mean
    below = [(part.below, part.degrees) for part in one.parts] + [(part.above, part.degrees) for part in other.parts]
    above = [(part.above, part.degrees) for part in one.parts] + [(part.below, part.degrees) for part in other.parts]
    towards_none = below if difference > 0 else above
    p = least_outside(lambda outside: _half_width(towards_none, outside), abs(difference))
    ends = [difference, difference - _half_width(below), difference + _half_width(above)]
    told = [math.exp(max(-700.0, min(end, 700.0))) for end in ends] if ratio else ends
    return Comparison(told[0], told[1], told[2], p, min(len(mine), len(theirs)), 0)


def _group(runs: Sequence[Interval], ratio: bool) -> Group:
    runs = [_logarithm(run) for run in runs] if ratio else list(runs)
    over_runs = mean_interval([run.value for run in runs])
    parts = []
    if over_runs.high is not None:
        deviation = (over_runs.high - over_runs.value) / critical(over_runs.n - 1)
        parts.append(Part(deviation, deviation, over_runs.n - 1))
    inner = [
        (run.value - run.low, run.high - run.value) for run in runs if run.low is not None and run.high is not None
    ]
    if len(inner) == len(runs):
        below, above = (
            math.sqrt(math.fsum(end * end for end in ends) / len(ends)) for ends in zip(*inner, strict=True)
        )
        parts.append(Part(below / critical(), above / critical(), math.inf))
    return Group(over_runs.value, parts)


def _logarithm(run: Interval) -> Interval:
    low, high = (None if end is None else math.log(max(end, 1e-300)) for end in (run.low, run.high))
    return run._replace(value=math.log(run.value), low=low, high=high)


def _half_width(parts: Sequence[tuple[float, float]], outside: float = 1 - LEVEL) -> float:
    return math.sqrt(math.fsum((critical(degrees, outside) * deviation) ** 2 for deviation, degrees in parts))
