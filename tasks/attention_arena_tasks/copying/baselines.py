"""What readers score who do not look back, and what nobody can improve on."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from attention_arena.rows import RowSplit

Counts = npt.NDArray[np.int64]


def accuracies(train: RowSplit, test: RowSplit, n_symbols: int) -> dict[str, float]:
    """Return accuracies in percent on `test`, of guessing and of what follows a symbol in `train`: name -> value."""
    pairs = _pairs(train, n_symbols)
    at, answers = _here(test), test.answers
    return {
        "uniform guess": 100.0 / n_symbols,
        "commonest symbol": 100.0 * float(np.mean(answers == pairs.sum(axis=0).argmax())),
        "commonest after the last symbol": 100.0 * float(np.mean(answers == pairs.argmax(axis=1)[at])),
    }


def bits(train: RowSplit, test: RowSplit, n_symbols: int) -> dict[str, float]:
    """Return bits per symbol on `test`, of guessing and of counts in `train` plus one each: name -> value."""
    pairs = _pairs(train, n_symbols)[:, 1:] + 1  # nobody predicts the mark
    single = pairs.sum(axis=0)
    at, answers = _here(test), test.answers.astype(np.int64) - 1
    given = pairs[at, answers] / pairs.sum(axis=1)[at]
    return {
        "uniform guess": math.log2(n_symbols),
        "symbol frequencies": -float(np.log2(single[answers] / single.sum()).mean()),
        "symbol pairs": -float(np.log2(given).mean()),
    }


def optimum(test: RowSplit, n_symbols: int, lags: Sequence[int], copy_probability: float) -> float:
    """Return the bits per symbol on `test` of who knows the rule by which `lagged` drew it, and its numbers."""
    sequence = np.concatenate([test.tokens, test.answers[:, -1:]], axis=1)
    first = max(lags)
    answers = sequence[:, first:]
    hits = sum((sequence[:, first - lag : sequence.shape[1] - lag] == answers).astype(np.int64) for lag in lags)
    probabilities = copy_probability * np.asarray(hits) / len(lags) + (1 - copy_probability) / n_symbols
    return -float(np.log2(probabilities).mean()) + 0.0  # not minus zero


def _here(split: RowSplit) -> npt.NDArray[np.int64]:
    """Return the token at each scored place (N, P)."""
    return np.take(split.tokens, split.places, axis=1).astype(np.int64)


def _pairs(split: RowSplit, n_symbols: int) -> Counts:
    """Return how often each answer (the columns) follows each token (the rows)."""
    size = n_symbols + 1
    at_once = max(1, 2**22 // split.answers.shape[1])
    counts = np.zeros(size * size, dtype=np.int64)
    for start in range(0, len(split.tokens), at_once):
        rows = slice(start, start + at_once)
        pairs = np.take(split.tokens[rows], split.places, axis=1).astype(np.int64) * size + split.answers[rows]
        counts += np.bincount(pairs.ravel(), minlength=size * size)
    return counts.reshape(size, size)
