"""Random symbols to be copied, all draws integer arithmetic on a raw stream, so that a seed is the data everywhere.

Symbols are 1 to `n_symbols`; 0 marks where a word begins. Letters here: N rows, T tokens, W symbols of a word.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from attention_arena.rows import Rows

MARK = 0
LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)

Ids = npt.NDArray[np.uint16]


def duplication(bits: np.random.PCG64, n_rows: int, length: int, n_symbols: int) -> Rows:
    """Return rows 0w0w of `length` tokens, w of (length - 2) / 2 uniform symbols; the second w is to be predicted.

    Its first symbol is predicted at the second mark. The first w is random, so nobody is scored on it.
    """
    W = length // 2 - 1
    word = _uniform(bits.random_raw(n_rows * W) & LOW, n_symbols).reshape(n_rows, W)
    mark = np.full((n_rows, 1), MARK, dtype=np.uint16)
    return Rows(np.concatenate([mark, word, mark, word], axis=1), np.arange(W + 1, 2 * W + 1), word)


def lagged(
    bits: np.random.PCG64, n_rows: int, length: int, n_symbols: int, lags: Sequence[int], copy_probability: float
) -> Rows:
    """Return rows in which a symbol is, with `copy_probability`, the one that stands `lag` places before it, for one of
    `lags` at random, and uniform otherwise.

    The first max(lags) symbols are uniform and nobody is scored on them.
    """
    words = bits.random_raw(n_rows * (length + 1)).reshape(n_rows, length + 1)
    sequence = _uniform(words & LOW, n_symbols)  # (N, T + 1)
    chance = words >> HALF
    threshold = int(copy_probability * 2**32)
    copies = chance < np.uint64(threshold)
    # Given that it copies, its high half is uniform below the threshold.
    which = (chance * np.uint64(len(lags)) // np.uint64(max(threshold, 1))).astype(np.int64)
    back = np.array(lags)[np.minimum(which, len(lags) - 1)]
    first, step = max(lags), min(lags)
    for start in range(first, length + 1, step):  # no symbol of a step depends on another one of it
        block = np.arange(start, min(start + step, length + 1))
        copied = np.take_along_axis(sequence, block - back[:, block], axis=1)
        sequence[:, block] = np.where(copies[:, block], copied, sequence[:, block])
    return Rows(sequence[:, :-1], np.arange(first - 1, length), sequence[:, first:])


def _uniform(low: npt.NDArray[np.uint64], n_symbols: int) -> Ids:
    """Return a symbol for each number below 2^32: even but for one part in 2^32 / `n_symbols`."""
    return (np.uint64(1) + (low * np.uint64(n_symbols) >> HALF)).astype(np.uint16)
