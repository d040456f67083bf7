"""Paired comparison of a variant with the baseline: the same test examples, the same seeds.

S seeds, N examples, B blocks of them. Two things vary, and they are crossed: how training went, of which every seed is
one draw, and which examples the test set happens to hold, which is the same draw for all seeds. The difference of two
scores is the mean of a table (S, B). Its variance has a part from seeds, with S - 1 degrees of freedom, and a part from
examples; each enters by its own t quantile, and their squares add up (Banerjee 1961): at least 95 % whatever the parts
are, exactly 95 % where one of them is all. A bootstrap over two or three seeds would cover far less.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from attention_arena.statistics.intervals import LEVEL, critical
from attention_arena.statistics.quotients import Quotient, Values, linearised

SMALLEST_P = 1e-15
"""No p-value is told below this: the distributions are not known that far out."""


class Comparison(NamedTuple):
    """How a variant's score differs from the baseline's, with a 95 % interval, and how surprising that would be.

    The difference of perplexities is their ratio, and 1 where they are equal; any other is variant minus baseline.
    """

    difference: float
    low: float
    high: float
    p: float
    """Of no difference; two-sided."""
    n_seeds: int
    """One: the interval and p are about these two trained models alone."""
    n_examples: int

    def detectable(self, ratio: bool) -> float:
        """Return the smallest difference, or ratio above 1, whose interval would just leave out none."""
        return math.sqrt(self.high / self.low) if ratio else (self.high - self.low) / 2


class Parts(NamedTuple):
    """What the variance of the mean of a table (S, B) is made of; a part is a mean square over S B."""

    mean: float
    n_seeds: int
    n_blocks: int
    seeds: float
    """Between seeds; holds the residual's part once."""
    examples: float
    """Between examples beyond the residual's; what more seeds would not reduce."""
    residual: float

    def half_width(self, outside: float = 1 - LEVEL) -> float:
        """Return half of the interval that misses the truth with probability `outside` at most.

        Never narrower than the one for these trained models alone, which examples suffice for.
        """
        q = critical(self.n_blocks - 1, outside)
        from_seeds = q * q * self.residual
        if self.n_seeds > 1:
            from_seeds = max(from_seeds, critical(self.n_seeds - 1, outside) ** 2 * self.seeds)
        return math.sqrt(from_seeds + q * q * self.examples)

    def p_value(self) -> float:
        """Return the greatest `outside` at which the interval does not reach 0."""
        return least_outside(self.half_width, abs(self.mean))


def least_outside(half_width: Callable[[float], float], distance: float) -> float:
    """Return p: the greatest `outside` at which an interval of that half width does not reach over `distance`."""
    if distance == 0:
        return 1.0
    if half_width(SMALLEST_P) <= distance:
        return SMALLEST_P
    low, high = math.log(SMALLEST_P), 0.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if half_width(math.exp(middle)) > distance else (low, middle)
    return math.exp(high)


def compare(variant: Sequence[Quotient], baseline: Sequence[Quotient]) -> Comparison:
    """Compare two variants by their per-example values, one quotient a seed, the seeds in the same order.

    Raises ValueError where seeds or examples are not the same, or there are fewer than 2 examples.
    """
    _require_pairs(variant, baseline)
    first = variant[0]
    differences = np.stack([a.numerators - b.numerators for a, b in zip(variant, baseline, strict=True)])
    n_seeds, n_examples = differences.shape
    table = linearised(first.blocks(differences), first.blocks(first.denominators))
    parts = parts_of(table, first.trials)
    half = parts.half_width()
    p = mcnemar(differences[0]) if n_seeds == 1 and first.trials else parts.p_value()
    ends = [parts.mean, parts.mean - half, parts.mean + half]
    if first.exponential:
        told = [math.exp(max(-700.0, min(end, 700.0))) for end in ends]
    else:
        told = [first.scale * end for end in ends]
        if first.whole is not None:
            told[1:] = [max(told[1], -first.whole), min(told[2], first.whole)]
    return Comparison(told[0], told[1], told[2], p, n_seeds, n_examples)


def parts_of(table: Values, trials: bool) -> Parts:
    """Return the parts of the variance of a table's mean, from its mean squares: two factors crossed, one value a cell.

    `trials` says that a value is a difference of two successes: -1, 0 or 1. Then one example more in each direction is
    counted, so that few or no differences do not pass for certainty (Bonett & Price 2012).
    """
    n_seeds, n_blocks = table.shape
    mean = float(table.mean())
    by_seed, by_block = table.mean(axis=1), table.mean(axis=0)
    more = 2.0 if trials else 0.0
    blocks = n_seeds * (float(((by_block - mean) ** 2).sum()) + more) / (n_blocks - 1)
    if n_seeds == 1:
        return Parts(mean, 1, n_blocks, 0.0, blocks / n_blocks, 0.0)
    seeds = n_blocks * float(by_seed.var(ddof=1))
    rest = table - by_seed[:, None] - by_block + mean
    residual = float((rest**2).sum()) / ((n_seeds - 1) * (n_blocks - 1))
    size = n_seeds * n_blocks
    return Parts(mean, n_seeds, n_blocks, seeds / size, max(blocks - residual, 0.0) / size, residual / size)


def mcnemar(differences: Values) -> float:
    """Return the exact two-sided p of no difference between two models, from -1, 0 or 1 for each example (N,).

    Of the examples that one of the two alone got right, either is as likely to be the one (McNemar 1947).
    """
    from scipy.special import bdtr

    ups, downs = int((differences > 0).sum()), int((differences < 0).sum())
    return max(SMALLEST_P, min(1.0, 2 * float(bdtr(min(ups, downs), ups + downs, 0.5))))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that hold for the whole family at once, in the same order (Holm 1979)."""
    adjusted = [0.0] * len(p_values)
    least = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda each: p_values[each])):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = least
    return adjusted


def _require_pairs(variant: Sequence[Quotient], baseline: Sequence[Quotient]) -> None:
    if len(variant) != len(baseline) or not variant:
        raise ValueError(f"expected the same seeds of both, got {len(variant)} and {len(baseline)}")
    first = variant[0]
    if len(first.numerators) < 2:
        raise ValueError(f"a comparison needs at least 2 examples, got {len(first.numerators)}")
    for each in (*variant, *baseline):
        if not np.array_equal(each.denominators, first.denominators) or not _same(each.chain, first.chain):
            raise ValueError("the examples are not the same, or not in the same order")


def _same(one: npt.NDArray[np.int64] | None, other: npt.NDArray[np.int64] | None) -> bool:
    return one is other or (one is not None and other is not None and np.array_equal(one, other))
