"""Multi-query associative recall as Arora et al. 2023 (Zoology) set it.

A row begins with its key-value pairs, k1 v1 k2 v2 and so on. The rest is cut into slots of two tokens; each key
returns once, at the beginning of a slot, and there the model must name its value. Slots are drawn with probability
proportional to slot^(power - 1), so that most queries come soon, as words do that return in a text. Keys lie in the
lower half of the vocabulary (0 apart, which stands for nothing), values in the upper half. Every other token is noise
from the whole vocabulary, or 0; no answer is ever shown, since what follows a query is noise too.

Letters here: N rows, T tokens, P pairs, S slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Context, Decimal

import numpy as np

from attention_arena.rows import Rows
from attention_arena_tasks.associative_recall.draws import below, distinct, weighted

NOTHING = 0
PRECISION = Context(prec=30)
"""Decimal arithmetic is done in software, so that a power is the same number on every machine."""
SCALE = 2**31


def n_slots(length: int, n_pairs: int) -> int:
    """Return how many slots of two tokens are left behind the pairs."""
    return (length - 2 * n_pairs) // 2


def n_keys(vocab_size: int) -> int:
    """Return how many keys there are: 1 to that."""
    return vocab_size // 2 - 1


def n_values(vocab_size: int) -> int:
    """Return how many values there are: the last of the vocabulary."""
    return vocab_size - vocab_size // 2


def slot_weights(n: int, power: float) -> list[int]:
    """Return integers from 1 up, proportional to slot^(power - 1) for slots 1 to `n`, that add up to less than 2^32."""
    exponent = Decimal(repr(power)) - 1
    exact = [PRECISION.power(Decimal(slot), exponent) for slot in range(1, n + 1)]
    total = sum(exact, Decimal(0))
    return [max(1, int(PRECISION.divide(weight * SCALE, total))) for weight in exact]


def recall(
    bits: np.random.PCG64, n_rows: int, length: int, n_pairs: int, vocab_size: int, weights: Sequence[int], noise: bool
) -> Rows:
    """Return rows of `length` tokens, with the places of the queries, in the order of the pairs, and their values."""
    keys = 1 + distinct(bits, n_rows, n_pairs, n_keys(vocab_size))  # (N, P)
    values = vocab_size // 2 + distinct(bits, n_rows, n_pairs, n_values(vocab_size))
    places = 2 * n_pairs + 2 * weighted(bits, n_rows, n_pairs, weights)
    tokens = np.full((n_rows, length), NOTHING, dtype=np.int64)
    if noise:
        tokens[:] = below(bits, np.full(tokens.shape, vocab_size, dtype=np.uint64)).astype(np.int64)
    tokens[:, 0 : 2 * n_pairs : 2] = keys
    tokens[:, 1 : 2 * n_pairs : 2] = values
    np.put_along_axis(tokens, places, keys, axis=1)
    return Rows(tokens.astype(np.uint16), places.astype(np.uint16), values.astype(np.uint16))
