"""The bars that our layers are held to, and whether they hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bench.cases import Direction
from bench.rows import Row, divide
from bench.summary import Line

LONG = 2048
"""From this length on a variant is compared with its best peer, and bf16 with float32."""
SHORT = 512
TIME_OF_BEST_PEER = 0.9
RATIO_WHEN_SHORT = 1.5

RATIOS: dict[tuple[str, Direction], dict[int, float]] = {
    ("linformer", "bidirectional"): {4096: 0.25, 16384: 0.10},
    ("performer", "bidirectional"): {4096: 0.28, 16384: 0.14},
    ("performer", "causal"): {4096: 0.62, 16384: 0.30},
    ("reformer, 1 hash", "bidirectional"): {4096: 0.19, 16384: 0.11},
    ("reformer, 4 hashes", "bidirectional"): {4096: 0.52, 16384: 0.30},
    ("longformer", "bidirectional"): {4096: 0.42, 16384: 0.13},
    ("longformer", "causal"): {4096: 0.46, 16384: 0.17},
    ("transformer_xl", "causal"): {4096: 1.20, 16384: 0.45},
    ("sparse", "bidirectional"): {4096: 0.35, 16384: 0.14},
    ("sparse", "causal"): {4096: 0.35, 16384: 0.14},
}
"""Time of forward and backward over that of fused softmax, in the base setting.

Reformer's are of the bidirectional layer. It costs as much when causal, and causal fused softmax half: at 4096 tokens
the projections alone are then near the bar of 1 hash.
"""

PEAKS: dict[tuple[str, Direction], float] = {
    ("linformer", "bidirectional"): 515,
    ("performer", "bidirectional"): 903,
    ("performer", "causal"): 1158,
    ("reformer, 1 hash", "bidirectional"): 597,
    ("reformer, 1 hash", "causal"): 597,
    ("reformer, 4 hashes", "bidirectional"): 2141,
    ("reformer, 4 hashes", "causal"): 2141,
    ("longformer", "bidirectional"): 1458,
    ("longformer", "causal"): 986,
    ("transformer_xl", "causal"): 2566,
}
"""MiB of peers at 16384 tokens in the base setting, measured once on another machine."""
PEAKS_AT = 16384

EXPONENTS = {
    "linformer": 1.15,
    "performer": 1.15,
    "longformer": 1.15,
    "transformer_xl": 1.15,
    "reformer, 1 hash": 1.3,
    "reformer, 4 hashes": 1.3,
    "sparse": 1.6,
}
STATED_WHEN_SHORT = ("reformer, 4 hashes", "transformer_xl")
"""What may cost more than the bar when short, so that its cost is stated and not judged."""


@dataclass(frozen=True)
class Verdict:
    """One bar: what was found, what it may be at most, and whether it holds; None where that was not measured."""

    bar: str
    where: str
    limit: float | None
    found: float | None
    holds: bool | None
    detail: str = ""


def judge(rows: Sequence[Row], lines: Sequence[Line]) -> list[Verdict]:
    """Return every bar that concerns a variant and a setting among `rows`."""
    ours = [row for row in rows if row.ours and row.status != "unsupported"]
    plain = [row for row in ours if row.dtype == "float32"]
    return [
        *_ratios(plain),
        *_against_peers(plain),
        *_peaks(plain),
        *_growth(lines),
        *_when_short(plain),
        *_half_precision(ours),
    ]


def _verdict(bar: str, where: str, limit: float | None, found: float | None, detail: str = "") -> Verdict:
    holds = None if limit is None or found is None else found <= limit
    return Verdict(bar, where, limit, found, holds, detail)


def _ratios(rows: Iterable[Row]) -> Iterator[Verdict]:
    for row in rows:
        limit = RATIOS.get((row.idea, row.direction), {}).get(row.length)
        if limit is not None and row.setting == "base" and row.phase == "training":
            yield _verdict("time over fused softmax", _where(row), limit, row.ratio, row.reason)


def _against_peers(rows: Iterable[Row]) -> Iterator[Verdict]:
    """Yield the worst of all long lengths, in time and, where training was measured, in peak memory."""
    for group in _groups(row for row in rows if row.length >= LONG and row.ratio_to_best_peer is not None):
        slowest = max(group, key=lambda row: row.ratio_to_best_peer or 0.0)
        detail = f"worst at {slowest.length}, against {slowest.best_peer}"
        where = _where(slowest, length=False)
        yield _verdict("time over the best peer", where, TIME_OF_BEST_PEER, slowest.ratio_to_best_peer, detail)
        if slowest.phase == "training":
            largest = max(group, key=lambda row: row.peak_ratio_to_best_peer or 0.0)
            detail = f"worst at {largest.length}, against {largest.best_peer}"
            yield _verdict("peak over the best peer", where, 1.0, largest.peak_ratio_to_best_peer, detail)


def _peaks(rows: Iterable[Row]) -> Iterator[Verdict]:
    for row in rows:
        limit = PEAKS.get((row.idea, row.direction))
        if limit is not None and row.setting == "base" and row.length == PEAKS_AT and row.phase == "training":
            yield _verdict("peak in MiB", _where(row), limit, row.peak_mib, row.reason)


def _growth(lines: Iterable[Line]) -> Iterator[Verdict]:
    for line in lines:
        limit = EXPONENTS.get(line.idea)
        measured = line.ours and line.dtype == "float32" and line.phase == "training" and line.exponent is not None
        if limit is not None and measured:
            yield _verdict("exponent of time", f"{line.idea}, {line.direction}, {line.setting}", limit, line.exponent)


def _when_short(rows: Iterable[Row]) -> Iterator[Verdict]:
    for row in rows:
        if row.length == SHORT and row.implementation != "softmax":
            stated = row.idea in STATED_WHEN_SHORT
            limit = None if stated else RATIO_WHEN_SHORT
            yield _verdict(
                f"time over fused softmax at {SHORT}", _where(row), limit, row.ratio, "stated" if stated else ""
            )


def _half_precision(rows: Sequence[Row]) -> Iterator[Verdict]:
    seconds = {_key(row): row.cpu_seconds for row in rows if row.dtype == "float32"}
    for row in rows:
        if row.dtype == "bf16" and row.length >= LONG:
            found = divide(row.cpu_seconds, seconds.get(_key(row)))
            yield _verdict("time in bf16 over float32", _where(row), 1.0, found, row.reason)


def _groups(rows: Iterable[Row]) -> list[list[Row]]:
    groups: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.implementation, row.direction, row.setting, row.phase), []).append(row)
    return list(groups.values())


def _key(row: Row) -> tuple[str, str, str, str, int]:
    return row.implementation, row.direction, row.setting, row.phase, row.length


def _where(row: Row, length: bool = True) -> str:
    parts = [row.implementation, row.direction, row.setting, row.phase]
    return ", ".join([*parts, f"{row.length} tokens"] if length else parts)
