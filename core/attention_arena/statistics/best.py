"""Which of several variants may be the truly best, when the one on top was picked by the scores under test.

Whatever tops n variants does so partly by luck, and a test of the others that takes it for given finds too much. Here
each is tested as if any of the others might have come out on top. Were it truly the best, to be shown worse it would
have to fall behind one of n - 1 that are no better; each such chance is at most 5 % / (n - 1), and together they are at
most 5 %. So the one on top and those not shown to be worse hold the truly best with 95 % confidence, however the top
was picked: selection of a subset (Gupta 1965, On Some Multiple Decision (Selection and Ranking) Rules) and multiple
comparisons with the best (Hsu 1984, Constrained Simultaneous Confidence Intervals), by Bonferroni's bound, which asks
nothing of how scores depend on each other.
"""

from __future__ import annotations

from typing import NamedTuple


class Behind(NamedTuple):
    """How surprising it would be to fall so far behind the best, while truly as good."""

    p: float
    """One-sided, of the best as if it had been named beforehand."""
    p_adjusted: float
    """For any of the others on top; at most 1."""


def behind_best(p: float, ahead: bool, n_others: int) -> Behind:
    """Return the p-values of being as good as the best from the two-sided p of no difference.

    `ahead` says that the difference is in the variant's favour, as it can be over the seeds that the two share;
    `n_others` counts the variants that could be on top in its place.
    """
    one_sided = 1 - p / 2 if ahead else p / 2
    return Behind(one_sided, min(1.0, n_others * one_sided))
