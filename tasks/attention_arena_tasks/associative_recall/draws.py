"""Draws without replacement for many rows at once, in integer arithmetic, so that a seed is the data everywhere.

Letters here: N rows, S things to draw from, P draws.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)

Integers = npt.NDArray[np.int64]


def below(bits: np.random.PCG64, limits: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return a number from 0 to each of `limits` - 1, any shape; even but for one part in 2^32 / limit."""
    words = bits.random_raw(limits.size).reshape(limits.shape)
    return (words & LOW) * limits >> HALF


def distinct(bits: np.random.PCG64, n_rows: int, n_draws: int, n: int) -> Integers:
    """Return for each row `n_draws` distinct numbers (N, P) from 0 to `n` - 1, all equally likely."""
    every = np.arange(n_rows)
    deck = np.repeat(np.arange(n, dtype=np.uint32)[None], n_rows, axis=0)  # (N, S)
    for draw in range(n_draws):
        other = draw + below(bits, np.full(n_rows, n - draw, dtype=np.uint64)).astype(np.int64)
        deck[every, draw], deck[every, other] = deck[every, other], deck[every, draw]
    return deck[:, :n_draws].astype(np.int64)


def weighted(bits: np.random.PCG64, n_rows: int, n_draws: int, weights: Sequence[int]) -> Integers:
    """Return for each row `n_draws` distinct indices into `weights` (N, P), in the order drawn.

    Each is drawn with probability proportional to its weight among those that are left. Weights are from 1 up and add
    up to less than 2^32. A row keeps a binary tree of sums: its leaves are the weights that are left, and a draw walks
    from the root to a leaf, which it then takes out.
    """
    S = len(weights)
    n_leaves = 1 << (S - 1).bit_length()
    sums = np.zeros(2 * n_leaves, dtype=np.uint64)  # node i has the children 2i and 2i + 1; the root is 1
    sums[n_leaves : n_leaves + S] = weights
    for parent in range(n_leaves - 1, 0, -1):
        sums[parent] = sums[2 * parent] + sums[2 * parent + 1]
    trees = np.repeat(sums[None], n_rows, axis=0)  # (N, 2L)
    every = np.arange(n_rows)
    drawn = np.empty((n_rows, n_draws), dtype=np.int64)
    for draw in range(n_draws):
        left = below(bits, trees[:, 1])  # (N,)
        node = np.ones(n_rows, dtype=np.int64)
        path = [node]
        while node[0] < n_leaves:
            node = 2 * node
            beyond = left >= trees[every, node]
            left = np.where(beyond, left - trees[every, node], left)
            node = node + beyond
            path.append(node)
        weight = trees[every, node]
        for passed in path:
            trees[every, passed] -= weight
        drawn[:, draw] = node - n_leaves
    return drawn
