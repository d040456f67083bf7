"""ListOps expressions as the Long Range Arena draws them (Tay et al. 2020, section 2.1; Nangia & Bowman 2018).

A node at the greatest depth is a digit; above it, it is an operator with probability 1/4, else a digit. An operator has
2 to `max_args` arguments. Digits, operators and counts are uniform. An expression is kept if its symbols, brackets
included, number more than `min_length` and fewer than `max_length`, and if it was not drawn before.

Many trees grow at once, level by level: a level is one draw of 64 bits a node, a tree leaves as soon as it must be too
long, and values and positions of the survivors come from a pass up and a pass down the levels. Every draw is integer
arithmetic on a bit generator's raw stream, which NumPy keeps fixed between its versions, so that a seed means the same
expressions everywhere. Letters here: N nodes of a level, O operators of a level, K trees.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from attention_arena_tasks.listops.expressions import CLOSE, FIRST_DIGIT, FIRST_OPERATOR

TREES_AT_ONCE = 1024
"""Trees of a chunk; part of what a seed means."""
FRUITLESS_CHUNKS = 200
"""Chunks without a new expression after which there is none to be found."""

Integers = npt.NDArray[np.int64]


class TreeShape(NamedTuple):
    """Bounds of the trees; lengths are strict and count operators, digits and closes."""

    max_depth: int
    max_args: int
    min_length: int
    max_length: int


class Expressions(NamedTuple):
    """Expressions one after another: `tokens` (sum of lengths,) uint8, `lengths` (K,), `values` (K,) uint8."""

    tokens: npt.NDArray[np.uint8]
    lengths: Integers
    values: npt.NDArray[np.uint8]

    def where(self, keep: npt.NDArray[np.bool_]) -> Expressions:
        """Return the expressions that `keep` (K,) marks."""
        if keep.all():
            return self
        return Expressions(self.tokens[np.repeat(keep, self.lengths)], self.lengths[keep], self.values[keep])


class Level(NamedTuple):
    """The nodes of one depth; those of a tree, and the arguments of an operator, lie side by side.

    `tree` (N,) is each node's tree, `symbol` (N,) its digit or operator, `operators` (O,) which nodes are operators and
    `n_args` (O,) how many nodes of the next level are theirs.
    """

    tree: Integers
    symbol: npt.NDArray[np.uint8]
    operators: Integers
    n_args: Integers

    @property
    def first_arg(self) -> Integers:
        """Where each operator's arguments begin in the next level (O,)."""
        return np.cumsum(self.n_args) - self.n_args


def distinct(seed: int, shape: TreeShape) -> Iterator[Expressions]:
    """Yield distinct expressions without end, chunk by chunk, in an order that depends on the arguments alone.

    Ends, instead of searching for ever, when `FRUITLESS_CHUNKS` in a row brought nothing new.
    """
    seen: set[bytes] = set()  # asked for membership alone, so its order never matters
    fruitless = 0
    for expressions in (draw(seed, chunk, shape) for chunk in count()):
        stops = np.cumsum(expressions.lengths).tolist()
        keep = np.zeros(len(stops), dtype=bool)
        for i, (start, stop) in enumerate(zip([0, *stops[:-1]], stops, strict=True)):
            text = expressions.tokens[start:stop].tobytes()
            keep[i] = text not in seen
            seen.add(text)
        fruitless = 0 if keep.any() else fruitless + 1
        if fruitless == FRUITLESS_CHUNKS:
            return
        if keep.any():
            yield expressions.where(keep)


def draw(seed: int, chunk: int, shape: TreeShape) -> Expressions:
    """Return what is left of `TREES_AT_ONCE` trees once those of the wrong length are gone."""
    bits = np.random.PCG64(np.random.SeedSequence([seed, chunk]))
    levels, lengths = _grow(bits, shape)
    kept = (lengths > shape.min_length) & (lengths < shape.max_length)
    levels = [_prune(level, kept) for level in levels]
    values, spans = _evaluate(levels)
    tokens = _write(levels, spans)
    return Expressions(tokens, lengths[kept], values[0])


def _grow(bits: np.random.PCG64, shape: TreeShape) -> tuple[list[Level], Integers]:
    """Return the levels of `TREES_AT_ONCE` trees and their lengths (K,); a tree that is too long stops growing.

    A root is always an operator: three of four would be a digit, whose length of 1 is never above `min_length`.
    """
    tree = np.arange(TREES_AT_ONCE)
    lengths = np.ones(TREES_AT_ONCE, dtype=np.int64)
    levels: list[Level] = []
    for depth in range(1, shape.max_depth + 1):
        words = bits.random_raw(len(tree))
        low = words & np.uint64(0xFFFFFFFF)
        # The high two bits decide the kind and the next two the operator; 32 low bits spread over a count or a digit
        # evenly but for one part in 2^28.
        if depth == 1:
            operators = np.arange(len(tree))
        elif depth < shape.max_depth:
            operators = np.flatnonzero(words >> np.uint64(62) == 0)
        else:
            operators = np.arange(0)
        symbol = ((low * np.uint64(10)) >> np.uint64(32)).astype(np.uint8)
        symbol[operators] = (words[operators] >> np.uint64(60)) & np.uint64(3)
        n_args = 2 + ((low[operators] * np.uint64(shape.max_args - 1)) >> np.uint64(32)).astype(np.int64)
        lengths += np.bincount(tree[operators], weights=n_args + 1, minlength=TREES_AT_ONCE).astype(np.int64)
        level = _prune(Level(tree, symbol, operators, n_args), lengths < shape.max_length)
        levels.append(level)
        tree = np.repeat(level.tree[level.operators], level.n_args)
        if not len(tree):
            break
    return levels, lengths


def _prune(level: Level, kept: npt.NDArray[np.bool_]) -> Level:
    """Return the level without the nodes of trees that are not `kept` (K,)."""
    keep = kept[level.tree]
    if keep.all():
        return level
    keep_operators = keep[level.operators]
    moved = np.cumsum(keep) - 1
    return Level(
        level.tree[keep],
        level.symbol[keep],
        moved[level.operators[keep_operators]],
        level.n_args[keep_operators],
    )


def _evaluate(levels: list[Level]) -> tuple[list[npt.NDArray[np.uint8]], list[Integers]]:
    """Return, level by level, each node's value (N,) and how many symbols its expression has (N,)."""
    values = [level.symbol.copy() for level in levels]
    spans = [np.ones(len(level.symbol), dtype=np.int64) for level in levels]
    for i in reversed(range(len(levels) - 1)):
        level = levels[i]
        if len(level.operators):
            values[i][level.operators] = _apply(level, values[i + 1])
            spans[i][level.operators] = 2 + np.add.reduceat(spans[i + 1], level.first_arg)
    return values, spans


def _apply(level: Level, args: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the value (O,) of each operator of the level on its arguments, which are `args` in order."""
    first = level.first_arg
    operator = level.symbol[level.operators]
    result = np.empty(len(operator), dtype=np.uint8)
    smallest, largest, total = operator == 0, operator == 1, operator == 3
    result[smallest] = np.minimum.reduceat(args, first)[smallest]
    result[largest] = np.maximum.reduceat(args, first)[largest]
    result[total] = (np.add.reduceat(args, first, dtype=np.int64) % 10)[total]
    middle = operator == 2
    result[middle] = _medians(args, first[middle], level.n_args[middle])
    return result


def _medians(args: npt.NDArray[np.uint8], first: Integers, n_args: Integers) -> npt.NDArray[np.uint8]:
    """Return the median of each run of `n_args` from `first`, its half cut off."""
    if not len(first):
        return np.empty(0, dtype=np.uint8)
    offsets = np.arange(int(n_args.max()))
    rows = args[np.minimum(first[:, None] + offsets, len(args) - 1)]
    rows[offsets >= n_args[:, None]] = 255  # sorts behind every digit
    rows.sort(axis=1)
    lower = np.take_along_axis(rows, ((n_args - 1) // 2)[:, None], axis=1)[:, 0]
    upper = np.take_along_axis(rows, (n_args // 2)[:, None], axis=1)[:, 0]
    medians: npt.NDArray[np.uint8] = (lower + upper) // 2
    return medians


def _write(levels: list[Level], spans: list[Integers]) -> npt.NDArray[np.uint8]:
    """Return the trees' symbols, tree after tree, each in reading order; what no node claims is a close."""
    tokens = np.full(int(spans[0].sum()), CLOSE, dtype=np.uint8)
    position = np.cumsum(spans[0]) - spans[0]
    for i, level in enumerate(levels):
        symbol = level.symbol + np.uint8(FIRST_DIGIT)
        symbol[level.operators] += np.uint8(FIRST_OPERATOR - FIRST_DIGIT)
        tokens[position] = symbol
        if not len(level.operators):
            break
        before = np.cumsum(spans[i + 1]) - spans[i + 1]  # symbols of all nodes to the left
        shift = position[level.operators] + 1 - before[level.first_arg]
        position = before + np.repeat(shift, level.n_args)
    return tokens
