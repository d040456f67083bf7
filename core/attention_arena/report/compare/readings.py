"""Figures that measures found, on one side and on the other: which are the same figure, and what became of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from attention_arena.report.compare.finding import GOT_WORSE, IMPROVED, ONLY_HERE, ONLY_THERE, Finding
from attention_arena.report.compare.matching import Row
from attention_arena.statistics import Interval, compare_unpaired, geometric_mean, mean_interval


class Point(NamedTuple):
    """What one figure is of."""

    what: str
    length: int | None
    batch_size: int | None
    unit: str
    higher_is_better: bool


class Reading(NamedTuple):
    """A figure over one side's runs: values, or why there is none."""

    values: list[Interval]
    status: str = "done"
    detail: str | None = None


def read(rows: Iterable[Row], point: Callable[[Row], Point | None]) -> dict[Point, Reading]:
    """Return the figures of measurement rows over runs; `point` says what a row is of, None where it is left out."""
    readings: dict[Point, Reading] = {}
    for row in rows:
        of = point(row)
        if of is None:
            continue
        old = readings.get(of, Reading([]))
        if row["value"] is None or not math.isfinite(row["value"]):
            readings[of] = old if old.values else Reading([], row["status"], row["detail"])
        else:
            value = Interval(row["value"], row["low"], row["high"], row["samples"], "samples")
            readings[of] = Reading([*old.values, value])
    return readings


def is_whole(row: Row) -> bool:
    """Whether a row is one figure of the whole model, of which one knows which way is better."""
    parts = (row["layer"], row["head"], row["position"])
    return all(part is None for part in parts) and row["higher_is_better"] is not None


def described(blank: Finding, point: Point) -> Finding:
    """Return a finding that says what it is of."""
    return replace(
        blank,
        what=point.what,
        length=point.length,
        unit=point.unit,
        higher_is_better=point.higher_is_better,
    )


def compare_readings(finding: Finding, theirs: Reading | None, mine: Reading | None) -> Iterator[Finding]:
    """Yield what became of one figure; nothing where neither side has a value.

    Its verdict is open where statistics decide, and set where a side lacks the figure, or has only why there is none.
    """
    if theirs is None or mine is None:
        present = theirs or mine
        if present is not None and present.values:
            yield replace(_valued(finding, theirs, mine), verdict=ONLY_THERE if theirs else ONLY_HERE)
        return
    told = _valued(finding, theirs, mine)
    if theirs.values and mine.values:
        found = compare_unpaired(mine.values, theirs.values, ratio=finding.ratio)
        yield replace(told, found=found, reason="" if found else "one run a side, and no interval")
    elif theirs.values:
        yield replace(told, verdict=GOT_WORSE, reason=f"{mine.status} now{_detail(mine)}")
    elif mine.values:
        yield replace(told, verdict=IMPROVED, reason=f"{theirs.status} before{_detail(theirs)}")


def _valued(finding: Finding, theirs: Reading | None, mine: Reading | None) -> Finding:
    return replace(finding, theirs=_value(theirs, finding.ratio), mine=_value(mine, finding.ratio))


def _value(reading: Reading | None, ratio: bool) -> float | None:
    if reading is None or not reading.values:
        return None
    values = [each.value for each in reading.values]
    return geometric_mean(values) if ratio else mean_interval(values).value


def _detail(reading: Reading) -> str:
    return f": {reading.detail.splitlines()[0]}" if reading.detail else ""
