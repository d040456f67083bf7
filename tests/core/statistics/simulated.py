"""Test sets and trained models as they might be: examples differ in difficulty, models agree on them, seeds differ."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtr

LEVEL, GAP = 0.3, 0.15
"""The baseline's level and what the variant is ahead by, in probits: about 59 % and 63 % correct."""


def draw(
    source: np.random.Generator,
    n_seeds: int,
    n: int,
    seed_spread: float,
    example_spread: float = 1.0,
    shared: float = 0.7,
    gap: float = GAP,
) -> tuple[np.ndarray, np.ndarray]:
    """Return successes (S, N) of the baseline and of the variant on a fresh test set.

    `shared` of the examples' difficulty is the same for both; the rest, and every seed's level, is each one's own.
    """
    difficulty = source.normal(size=n) * example_spread * math.sqrt(shared)
    found = []
    for ahead in (0.0, gap):
        own = source.normal(size=n) * example_spread * math.sqrt(1 - shared)
        seeds = source.normal(size=(n_seeds, 1)) * seed_spread
        chance = ndtr(LEVEL + ahead + difficulty + own + seeds)
        found.append((source.random((n_seeds, n)) < chance).astype(float))
    return found[0], found[1]


def truth(seed_spread: float, example_spread: float = 1.0, gap: float = GAP) -> tuple[float, float]:
    """Return the expected scores of the two over all trainings and examples."""
    total = math.sqrt(1 + seed_spread**2 + example_spread**2)
    return float(ndtr(LEVEL / total)), float(ndtr((LEVEL + gap) / total))
