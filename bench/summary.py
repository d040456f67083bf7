"""What follows from the rows: how cost grows, where a variant overtakes fused softmax."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from attention_arena.statistics import Point, exponent
from bench.cases import Direction, Dtype, Phase
from bench.rows import Row

GROWTH = (2048, 16384)
"""Lengths between which the exponent of time is fitted."""


@dataclass(frozen=True)
class Line:
    """One implementation over all lengths."""

    setting: str
    direction: Direction
    phase: Phase
    dtype: Dtype
    implementation: str
    idea: str
    ours: bool
    exponent: float | None
    break_even: str
    rows: tuple[Row, ...]
    """By length, measured or not."""


def growth(seconds: Mapping[int, float]) -> float | None:
    """Return e of seconds ~ length^e over `GROWTH`; None where its ends were not both measured.

    Without both ends the figure would be of another range, and could not be held against the same bar.
    """
    within = {length: value for length, value in seconds.items() if GROWTH[0] <= length <= GROWTH[1]}
    if not within or (min(within), max(within)) != GROWTH:
        return None
    return exponent([Point(length, value) for length, value in within.items()]).value


def break_even(ratios: Mapping[int, float]) -> str:
    """Return from which length on the ratio to fused softmax stays below 1, in words.

    Between two measured lengths it is interpolated on logarithmic axes.
    """
    if not ratios:
        return ""
    points = sorted(ratios.items())
    longest, last = points[-1]
    if last >= 1:
        return f"none up to {longest}"
    for (length, ratio), (longer, lower) in reversed(list(pairwise(points))):
        if ratio >= 1:
            share = math.log(ratio) / math.log(ratio / lower)
            return f"{round(length * (longer / length) ** share)}"
    return f"below {points[0][0]}"


def lines(rows: Iterable[Row]) -> list[Line]:
    """Return the rows by implementation, in order of their first row."""
    groups: dict[tuple[str, Direction, Phase, Dtype, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.setting, row.direction, row.phase, row.dtype, row.implementation), []).append(row)
    found = []
    for (setting, direction, phase, dtype, implementation), group in groups.items():
        group.sort(key=lambda row: row.length)
        seconds = {row.length: row.cpu_seconds for row in group if row.cpu_seconds is not None}
        ratios = {row.length: row.ratio for row in group if row.ratio is not None}
        overtakes = "" if implementation == "softmax" else break_even(ratios)
        first = group[0]
        found.append(
            Line(
                setting,
                direction,
                phase,
                dtype,
                implementation,
                first.idea,
                first.ours,
                growth(seconds),
                overtakes,
                tuple(group),
            )
        )
    return found
