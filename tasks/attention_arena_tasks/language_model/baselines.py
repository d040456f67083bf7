"""What counts of tokens give without any model: bits, or perplexity, of the next token."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.integer]

FEW = 256
"""Symbols up to which triples are counted in a full table."""
AT_ONCE = 2**22
PAIRS_AT_MOST = 2**27
"""Tokens of training text up to which pairs of a large vocabulary are counted: sorting them takes 2 GiB."""


def trivial_baselines(train: Ids, test: Ids, n_symbols: int, unit: str) -> dict[str, float]:
    """Return scores on `test` of counts in `train`: name -> bits, or perplexity for words."""
    if n_symbols <= FEW:
        names = (f"{unit} frequencies", f"{unit} pairs", f"{unit} triples")
        nats = {name: table_nats(train, test, order, n_symbols) for order, name in enumerate(names)}
    else:
        nats = {f"{unit} frequencies": frequency_nats(train, test, n_symbols)}
        if len(train) <= PAIRS_AT_MOST:
            nats[f"{unit} pairs"] = pair_nats(train, test, n_symbols)
    return {name: math.exp(value) if unit == "word" else value / math.log(2) for name, value in nats.items()}


def table_nats(train: Ids, test: Ids, order: int, n_symbols: int) -> float:
    """Return the mean nats of every token of `test` but the first, each given the `order` tokens before it.

    Counts come from `train`, plus one for each symbol in each context. Before the beginning is symbol 0.
    """
    counts = np.zeros(n_symbols ** (order + 1), dtype=np.int64)
    for grams in _grams(train, order, n_symbols):
        if len(grams) * 8 < len(counts):
            np.add.at(counts, grams, 1)
        else:
            counts += np.bincount(grams, minlength=len(counts))
    totals = counts.reshape(-1, n_symbols).sum(axis=1)
    nats = 0.0
    for grams in _grams(test, order, n_symbols):
        probabilities = (counts[grams] + 1) / (totals[grams // n_symbols] + n_symbols)
        nats -= float(np.log(probabilities).sum())
    return nats / (len(test) - 1)


def frequency_nats(train: Ids, test: Ids, n_symbols: int) -> float:
    """Return the mean nats of every token of `test` but the first under the frequencies in `train`, plus one each."""
    costs = -np.log(frequencies(train, n_symbols))
    return sum(float(costs[grams].sum()) for grams in _grams(test, 0, n_symbols)) / (len(test) - 1)


def frequencies(train: Ids, n_symbols: int) -> npt.NDArray[np.float64]:
    """Return each symbol's probability: its count in `train` but for the first token, plus one, of all."""
    counts = np.ones(n_symbols, dtype=np.int64)
    for grams in _grams(train, 0, n_symbols):
        counts += np.bincount(grams, minlength=n_symbols)
    shares: npt.NDArray[np.float64] = counts / counts.sum()
    return shares


def pair_nats(train: Ids, test: Ids, n_symbols: int) -> float:
    """Return the mean nats of every token of `test` but the first, each given the token before it.

    Counts in `train` are mixed with frequencies as Witten & Bell (1991) do, so that a context counts for as much as it
    has been seen, and for less the more different tokens have followed it: with n occurrences of context c and t
    different successors, p(w | c) = (n(c, w) + t(c) p(w)) / (n(c) + t(c)).
    """
    single = frequencies(train, n_symbols)
    keys, n_pairs = np.unique(_pairs(train, n_symbols), return_counts=True)
    contexts = keys // n_symbols
    n_seen = np.bincount(contexts, weights=n_pairs, minlength=n_symbols)
    n_types = np.bincount(contexts, minlength=n_symbols)
    nats = 0.0
    asked = _pairs(test, n_symbols)
    for start in range(0, len(asked), AT_ONCE):
        some = asked[start : start + AT_ONCE]
        before, word = some // n_symbols, some % n_symbols
        places = np.minimum(np.searchsorted(keys, some), len(keys) - 1)
        count = np.where(keys[places] == some, n_pairs[places], 0)
        known = n_seen[before] > 0
        total = np.where(known, n_seen[before] + n_types[before], 1)
        probability = np.where(known, (count + n_types[before] * single[word]) / total, single[word])
        nats -= float(np.log(probability).sum())
    return nats / (len(test) - 1)


def _pairs(stream: Ids, n_symbols: int) -> npt.NDArray[np.int64]:
    return stream[:-1].astype(np.int64) * n_symbols + stream[1:]


def _grams(stream: Ids, order: int, n_symbols: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield, block by block, a number for each token but the first and the `order` tokens before it.

    The token itself is the last digit of its number, in base `n_symbols`.
    """
    for start in range(1, len(stream), AT_ONCE):
        stop = min(start + AT_ONCE, len(stream))
        missing = max(0, order - start)
        window = np.concatenate([np.zeros(missing, np.int64), stream[max(0, start - order) : stop].astype(np.int64)])
        grams = np.zeros(stop - start, dtype=np.int64)
        for step in range(order + 1):
            grams = grams * n_symbols + window[step : step + len(grams)]
        yield grams
