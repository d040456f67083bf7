"""What byte counts alone give: bits per byte without any model."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

N_BYTES = 256
BYTES_AT_ONCE = 2**22


def trivial_baselines(train: Bytes, test: Bytes) -> dict[str, float]:
    """Return bits per byte on `test` of byte counts in `train`, given no, one or two bytes before: name -> value."""
    names = ("byte frequencies", "byte pairs", "byte triples")
    return {name: bits_per_byte(train, test, order) for order, name in enumerate(names)}


def bits_per_byte(train: Bytes, test: Bytes, order: int) -> float:
    """Return the mean bits of every byte of `test` but the first, each given the `order` bytes before it.

    Counts come from `train`, plus one for each of the 256 bytes in each context. Before the beginning is a zero byte,
    as between documents.
    """
    counts = np.zeros(N_BYTES ** (order + 1), dtype=np.int64)
    for start in range(1, len(train), BYTES_AT_ONCE):
        grams = _grams(train, start, order)
        if len(grams) * 8 < len(counts):
            np.add.at(counts, grams, 1)
        else:
            counts += np.bincount(grams, minlength=len(counts))
    totals = counts.reshape(-1, N_BYTES).sum(axis=1)
    bits = 0.0
    for start in range(1, len(test), BYTES_AT_ONCE):
        grams = _grams(test, start, order)
        probabilities = (counts[grams] + 1) / (totals[grams // N_BYTES] + N_BYTES)
        bits -= float(np.log(probabilities).sum())
    return bits / math.log(2) / (len(test) - 1)


def _grams(stream: Bytes, start: int, order: int) -> npt.NDArray[np.int64]:
    """Return a number for each byte from `start` and the `order` bytes before it; the byte itself is its last digit."""
    stop = min(start + BYTES_AT_ONCE, len(stream))
    missing = max(0, order - start)
    window = np.concatenate([np.zeros(missing, np.int64), stream[max(0, start - order) : stop].astype(np.int64)])
    grams = np.zeros(stop - start, dtype=np.int64)
    for step in range(order + 1):
        grams = grams * N_BYTES + window[step : step + len(grams)]
    return grams
