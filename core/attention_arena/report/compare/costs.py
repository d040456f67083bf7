"""A variant's costs on both sides, as ratios: those on the run's record, and those measured at lengths."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import polars as pl

from attention_arena.report.compare.finding import (
    GOT_WORSE,
    IMPROVED,
    NO_DIFFERENCE,
    NOT_COMPARABLE,
    ONLY_HERE,
    ONLY_THERE,
    Finding,
)
from attention_arena.report.compare.matching import Row
from attention_arena.statistics import Interval, compare_unpaired, geometric_mean

COST_UNITS = ("ms", "s", "ms/token", "bytes", "FLOPs", "tokens/s", "sequences", "tokens", "×")
LEFT_OUT = ("speed", "parameters")
"""Measures that say what another row says: the speed is the step time, and parameters stand on the record."""
COUNTED = ("FLOPs", "parameters")
RECORDED = (
    ("tokens_per_second", "training speed", "tokens/s", True),
    ("peak_memory_bytes", "peak memory of the run", "bytes", False),
    ("saved_for_backward_bytes", "saved for backward", "bytes", False),
    ("parameters", "parameters", "parameters", False),
    ("flops_per_token", "FLOPs per token", "FLOPs", False),
)
"""Column of the record, its words, unit and direction."""


class Point(NamedTuple):
    """What one cost is of."""

    what: str
    length: int | None
    batch_size: int | None
    unit: str
    higher_is_better: bool


class Reading(NamedTuple):
    """A cost of one side's runs: values, or why there is none."""

    values: list[Interval]
    status: str = "done"
    detail: str | None = None


Readings = Mapping[Point, Reading]


class Costs(NamedTuple):
    """What a side has to say of a cell's costs."""

    done: Sequence[Row]
    """The runs that are done."""
    measurements: pl.DataFrame
    """Of those runs."""
    baseline: str | None
    """Label of the variant beside which ratios of time were measured."""


def cost_findings(theirs: Costs, mine: Costs, blank: Finding) -> Iterator[Finding]:
    """Yield a finding for each cost that either side has of a cell."""
    one = _recorded(theirs.done) | _measured(theirs.measurements)
    two = _recorded(mine.done) | _measured(mine.measurements)
    elsewhere = _other_place(theirs.done, mine.done)
    for point in dict.fromkeys((*one, *two)):
        finding = replace(
            blank,
            kind="cost",
            what=point.what,
            length=point.length,
            unit=point.unit,
            higher_is_better=point.higher_is_better,
            ratio=True,
        )
        if point.unit == "×" and theirs.baseline != mine.baseline:
            reason = f"beside {theirs.baseline} and beside {mine.baseline}"
            yield replace(finding, verdict=NOT_COMPARABLE, reason=reason)
        else:
            yield from _compare(finding, one.get(point), two.get(point), elsewhere)


def _compare(finding: Finding, theirs: Reading | None, mine: Reading | None, elsewhere: str) -> Iterator[Finding]:
    if theirs is None or mine is None:
        present = theirs or mine
        if present is not None and present.values:
            side = {"theirs": _value(present)} if theirs else {"mine": _value(present)}
            yield replace(finding, verdict=ONLY_THERE if theirs else ONLY_HERE, **side)  # type: ignore[arg-type]
        return
    if not theirs.values and not mine.values:
        return
    told = replace(
        finding,
        theirs=_value(theirs) if theirs.values else None,
        mine=_value(mine) if mine.values else None,
    )
    exact = _is_counted(told)
    if theirs.values and mine.values:
        told = replace(told, found=compare_unpaired(mine.values, theirs.values, ratio=True))
    if elsewhere and not (exact and told.unit in COUNTED):
        yield replace(told, verdict=NOT_COMPARABLE, reason=elsewhere)
    elif not mine.values:
        yield replace(told, verdict=GOT_WORSE, reason=f"{mine.status} now{_detail(mine)}")
    elif not theirs.values:
        yield replace(told, verdict=IMPROVED, reason=f"{theirs.status} before{_detail(theirs)}")
    elif exact:
        yield _counted(told)
    elif told.found is None:
        yield replace(told, reason="one run a side, and no interval")
    else:
        yield told


def _counted(finding: Finding) -> Finding:
    """Decide a cost that is counted, not timed: any change is one."""
    assert finding.theirs is not None
    assert finding.mine is not None
    if math.isclose(finding.theirs, finding.mine, rel_tol=1e-9):
        return replace(finding, found=None, verdict=NO_DIFFERENCE, reason="counted: the same")
    better = (finding.mine > finding.theirs) == finding.higher_is_better
    return replace(finding, found=None, verdict=IMPROVED if better else GOT_WORSE, reason="counted")


def _is_counted(finding: Finding) -> bool:
    return finding.unit in COUNTED or finding.what.startswith(("saved for backward", "saved_for_backward"))


def _value(reading: Reading) -> float:
    return geometric_mean([each.value for each in reading.values])


def _detail(reading: Reading) -> str:
    return f": {reading.detail.splitlines()[0]}" if reading.detail else ""


def _recorded(done: Sequence[Row]) -> dict[Point, Reading]:
    readings = {}
    for column, words, unit, up in RECORDED:
        values = [Interval(row[column], None, None, 1, "none") for row in done if (row[column] or 0) > 0]
        if values:
            # A step's costs are those of its own length; a token's and a model's are not.
            length = None if unit in COUNTED else done[0]["length"]
            readings[Point(words, length, None, unit, up)] = Reading(values)
    return readings


def _measured(rows: pl.DataFrame) -> dict[Point, Reading]:
    """Return a model's costs, those of a layer, head or position left out, over runs."""
    readings: dict[Point, Reading] = {}
    for row in rows.iter_rows(named=True):
        if not _is_cost(row):
            continue
        what = f"{row['measure']}, {row['phase']}"
        point = Point(what, row["length"], row["batch_size"], row["unit"], bool(row["higher_is_better"]))
        old = readings.get(point, Reading([]))
        if row["value"] is None or row["value"] <= 0:
            readings[point] = old if old.values else Reading([], row["status"], row["detail"])
        else:
            value = Interval(row["value"], row["low"], row["high"], row["samples"], "samples")
            readings[point] = Reading([*old.values, value])
    return readings


def _is_cost(row: Mapping[str, Any]) -> bool:
    whole = row["layer"] is None and row["head"] is None and row["position"] is None
    directed = row["higher_is_better"] is not None
    return whole and directed and row["unit"] in COST_UNITS and row["measure"] not in LEFT_OUT


def _other_place(theirs: Sequence[Row], mine: Sequence[Row]) -> str:
    """Return how the machines or their settings differ; nothing where they do not."""
    one, two = ({_place(row) for row in rows} for rows in (theirs, mine))
    if one == two or not one or not two:
        return ""
    return f"the machines’ difference: {'; '.join(sorted(one))} against {'; '.join(sorted(two))}"


def _place(row: Row) -> str:
    device = (row["device"] or "").split(":")[0]
    return f"{row['device_name']} ({device}), {row['threads']} threads, {row['precision']}"
