"""The table of results: one row for each implementation, cell, phase and precision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

from bench.cases import Direction, Dtype, Phase

BASELINE = "softmax"


@dataclass(frozen=True)
class Row:
    """What was measured of one implementation in one cell, or why it was not.

    Times are of one layer, projections included, on one sequence. Ratios compare rows of the same cell, phase and
    precision. `peak_mib` is of forward and backward in a process of its own, above the idle process.
    """

    setting: str
    direction: Direction
    length: int
    phase: Phase
    dtype: Dtype
    idea: str
    implementation: str
    ours: bool
    counts: bool
    status: str
    reason: str = ""
    cpu_seconds: float | None = None
    samples: int = 0
    ratio: float | None = None
    """CPU seconds over those of fused softmax."""
    best_peer: str = ""
    """The fastest counting peer of the same idea, in rows of ours."""
    ratio_to_best_peer: float | None = None
    peak_mib: float | None = None
    peak_ratio_to_best_peer: float | None = None
    """Peak over that of the best peer."""
    wall_seconds: float | None = None
    """With several threads."""
    wall_ratio: float | None = None


COLUMNS = tuple(field.name for field in fields(Row))


def best_peer(rows: Iterable[Row], idea: str) -> Row | None:
    """Return the fastest row of a counting peer of an idea, among rows of one cell, phase and precision."""
    timed = [row for row in rows if row.idea == idea and not row.ours and row.counts and row.cpu_seconds is not None]
    return min(timed, key=lambda row: row.cpu_seconds or 0.0, default=None)


def relate(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of one cell, phase and precision with their ratios filled in."""
    softmax = next((row for row in rows if row.implementation == BASELINE), None)
    cpu, wall = (softmax.cpu_seconds, softmax.wall_seconds) if softmax else (None, None)
    related = []
    for row in rows:
        peer = best_peer(rows, row.idea) if row.ours else None
        changed = replace(
            row,
            ratio=divide(row.cpu_seconds, cpu),
            wall_ratio=divide(row.wall_seconds, wall),
        )
        if peer is not None:
            changed = replace(
                changed,
                best_peer=peer.implementation,
                ratio_to_best_peer=divide(row.cpu_seconds, peer.cpu_seconds),
                peak_ratio_to_best_peer=divide(row.peak_mib, peer.peak_mib),
            )
        related.append(changed)
    return related


def divide(value: float | None, by: float | None) -> float | None:
    """Return value / by, or None where either is missing."""
    return value / by if value is not None and by else None
