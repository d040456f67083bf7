"""Passages of documents, for tasks that are made of text: documents dealt whole to splits, and whole lines in them.

Nothing depends on hash order, on the order in which a file system lists files, or on a version of Python or NumPy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np


class Draws:
    """Whole numbers below a bound, by integer arithmetic on a bit generator's raw stream; a seed means them all."""

    def __init__(self, *seed: int) -> None:
        self._raw = np.random.PCG64(list(seed)).random_raw

    def below(self, n: int) -> int:
        """Return a number from 0 to n - 1; their chances differ by less than n / 2^64."""
        return int(self._raw()) % n


def deal(sizes: Mapping[str, int], shares: Mapping[str, int]) -> dict[str, list[str]]:
    """Return the names of each split: each name goes whole to the split that is furthest below its share of `sizes`.

    Names come in the order of their SHA-256, whatever the order of `sizes`; ties go to the split named first.
    """
    dealt: dict[str, list[str]] = {split: [] for split in shares}
    filled = dict.fromkeys(shares, 0)
    for name in sorted(sizes, key=digest):
        split = min(shares, key=lambda split: filled[split] / shares[split])
        dealt[split].append(name)
        filled[split] += sizes[name]
    return dealt


def digest(name: str) -> bytes:
    """Return what names are ordered by."""
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()


def line_starts(text: bytes, n_left: int) -> list[int]:
    """Return where the lines begin after which at least `n_left` bytes are left, themselves included."""
    starts, at = [], 0
    while len(text) - at >= max(1, n_left):
        starts.append(at)
        at = text.find(b"\n", at) + 1
        if not at:
            break
    return starts


def passage(text: bytes, start: int, limit: int) -> bytes:
    """Return at most `limit` bytes from `start` on, up to the last line end in their second half if there is one."""
    if len(text) - start <= limit:
        return text[start:]
    end = text.rfind(b"\n", start + limit // 2, start + limit) + 1
    return text[start : end or start + limit]


def passages(text: bytes, limit: int, shortest: int) -> Iterator[bytes]:
    """Yield a text cut into passages of at most `limit` bytes, without what would be shorter than `shortest`."""
    at = 0
    while len(text) - at >= max(1, shortest):
        piece = passage(text, at, limit)
        at += len(piece)
        if len(piece) >= shortest:
            yield piece
