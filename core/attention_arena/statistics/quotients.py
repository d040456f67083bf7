"""A score as a quotient of sums over test examples, which is all that intervals and paired tests need to know of it.

N examples, or rows of running text; B blocks of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from attention_arena.statistics.intervals import Interval, critical, wilson_interval
from attention_arena.statistics.ratios import ratio_interval

Values = npt.NDArray[np.float64]
MOST_BLOCKS = 40
"""Blocks that examples are put into. With as many, the t quantile is 3 % above the normal one, and a block is long
enough for what lies on both sides of a cut to matter little (batch means; Schmeiser 1982 advises 10 to 30 and more)."""
TOLERANCE = 1e-4
"""By how much of itself a score made of per-example values may differ from the one on record, for rounding; beyond it
they are not the same score."""


@dataclass(frozen=True)
class Quotient:
    """`scale` times sum of numerators over sum of denominators, or the exponential of the plain quotient."""

    numerators: Values
    """(N,)"""
    denominators: Values
    """(N,), none negative."""
    scale: float = 1.0
    whole: float | None = None
    """What all correct would be, where the score is a share; None where it is not."""
    exponential: bool = False
    chain: npt.NDArray[np.int64] | None = None
    """(N,), rows of one number continue each other in their order; None where rows are independent."""

    @property
    def value(self) -> float:
        """The score."""
        plain = float(self.numerators.sum() / self.denominators.sum())
        return math.exp(min(plain, 700.0)) if self.exponential else self.scale * plain

    @property
    def trials(self) -> bool:
        """Whether every example is one trial that succeeds or fails."""
        return self.whole is not None and bool((self.denominators == 1).all())

    def blocks(self, values: Values) -> Values:
        """Return sums (..., B) over blocks of `values` (..., N): consecutive rows, in the order of the text.

        Trials are independent, and each is its own block. Everything else may be running text, whose rows resemble
        their neighbours, so it is cut into at most `MOST_BLOCKS`.
        """
        if self.trials:
            return values
        if self.chain is not None:
            values = values[..., np.argsort(self.chain, kind="stable")]
        n = values.shape[-1]
        n_blocks = min(n, MOST_BLOCKS)
        return np.add.reduceat(values, np.arange(n_blocks) * n // n_blocks, axis=-1)

    def interval(self) -> Interval:
        """Return the score of one trained model with the 95 % interval that its examples support.

        Trials: Wilson's. Otherwise that of a ratio over blocks; where the score is a share it takes Wilson's form, with
        the effective number of trials (Korn & Graubard 1998).
        """
        n = len(self.numerators)
        share = float(self.numerators.sum() / self.denominators.sum())
        if self.trials:
            return wilson_interval(share, n).times(self.whole or 1.0)
        plain = ratio_interval(self.blocks(self.numerators).tolist(), self.blocks(self.denominators).tolist())
        if plain.low is None or plain.high is None:
            return Interval(self.value, None, None, n, "none")
        low, high = plain.low, plain.high
        if self.whole is not None:
            half = (high - low) / 2
            trials = share * (1 - share) * (critical() / half) ** 2 if half > 0 else n
            return wilson_interval(share, max(trials, 1.0)).times(self.whole)._replace(n=n)
        if self.exponential:
            return Interval(self.value, math.exp(min(low, 700.0)), math.exp(min(high, 700.0)), n, "examples")
        return Interval(self.value, self.scale * low, self.scale * high, n, "examples")


def linearised(numerators: Values, denominators: Values) -> Values:
    """Return (..., B) values whose mean is the quotient of the sums and whose spread is, to first order, its own.

    `numerators` (..., B), with one quotient for each leading index, and one spread around their common mean;
    `denominators` (B,).
    """
    mean_weight = denominators.mean()
    quotient = numerators.sum(axis=-1).mean() / denominators.sum()
    values: Values = quotient + (numerators - quotient * denominators) / mean_weight
    return values


def quotient_of(metric: str, unit: str | None, arrays: Mapping[str, Any]) -> Quotient | None:
    """Return a metric as a quotient of the per-example `arrays` (N,) of a run; None where it is not known as one.

    Accuracy is `correct` over `tokens`, `count` or examples; bits and perplexity are made of `nats` over `tokens`, and
    bits per byte over `bytes` where tokens are something else. Raises ValueError where arrays contradict each other.
    """
    counts = next((name for name in ("tokens", "count") if name in arrays), None)
    if metric.startswith("bits_per_"):
        counts = "bytes" if metric == "bits_per_byte" and "bytes" in arrays else counts
    above = "correct" if metric == "accuracy" else "nats"
    known = metric in ("accuracy", "loss", "perplexity", "masked_perplexity") or metric.startswith("bits_per_")
    if not known or above not in arrays:
        return None
    numerators = _checked(above, arrays[above])
    denominators = np.ones_like(numerators) if counts is None else _checked(counts, arrays[counts])
    chain = np.asarray(arrays["chain"], dtype=np.int64) if "chain" in arrays else None
    if len(numerators) == 0 or denominators.sum() <= 0 or denominators.min() < 0:
        raise ValueError("nothing was scored")
    if denominators.shape != numerators.shape or (chain is not None and chain.shape != numerators.shape):
        raise ValueError(f"arrays have unequal lengths: {len(numerators)} {above}, {len(denominators)} {counts}")
    whole = (100.0 if unit == "%" else 1.0) if metric == "accuracy" else None
    scale = whole or (1 / math.log(2) if metric.startswith("bits_per_") else 1.0)
    return Quotient(numerators, denominators, scale, whole, metric.endswith("perplexity"), chain)


def _checked(name: str, array: Any) -> Values:
    values = np.asarray(array)
    if values.ndim != 1 or values.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be numbers (N,), got {values.dtype} {values.shape}")
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite")
    return values
