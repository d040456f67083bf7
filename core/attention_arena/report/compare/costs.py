"""A variant's costs on both sides, as ratios: those on the run's record, and those measured at lengths."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

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
from attention_arena.report.compare.readings import Point, Reading, compare_readings, described, is_whole, read
from attention_arena.statistics import Interval

COST_UNITS = ("ms", "s", "ms/token", "bytes", "FLOPs", "tokens/s", "sequences", "tokens", "×")
LEFT_OUT = ("speed", "parameters")
"""Measures that say what another row says: the speed is the step time, and parameters stand on the record."""
COUNTED = ("FLOPs", "parameters")
CLOCKED = ("ms", "s", "ms/token", "tokens/s")
DRIFT = (
    "times of two sessions drift apart by themselves; those beside the baseline, taken by turns, are compared instead"
)
"""Why times are not compared as they are where there are such beside the same baseline."""
RECORDED = (
    ("tokens_per_second", "training speed", "tokens/s", True),
    ("peak_memory_bytes", "peak memory of the run", "bytes", False),
    ("saved_for_backward_bytes", "saved for backward", "bytes", False),
    ("parameters", "parameters", "parameters", False),
    ("flops_per_token", "FLOPs per token", "FLOPs", False),
)
"""Column of the record, its words, unit and direction."""


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
    one, two = _costs(theirs), _costs(mine)
    elsewhere = _other_place(theirs.done, mine.done)
    by_turns = theirs.baseline == mine.baseline and all(_by_turns(side, blank.label) for side in (theirs, mine))
    for point in dict.fromkeys((*one, *two)):
        finding = described(replace(blank, kind="cost", ratio=True), point)
        if point.unit == "×" and theirs.baseline != mine.baseline:
            reason = f"beside {theirs.baseline} and beside {mine.baseline}"
            yield replace(finding, verdict=NOT_COMPARABLE, reason=reason)
        else:
            drifts = by_turns and point.unit in CLOCKED
            for told in compare_readings(finding, one.get(point), two.get(point)):
                yield _judged(told, elsewhere, drifts)


def _by_turns(side: Costs, label: str) -> bool:
    """Whether times of a variant were measured beside the baseline's, or are the baseline's own, beside all others."""
    return ("ms" if label == side.baseline else "×") in side.measurements["unit"].to_list()


def _costs(costs: Costs) -> dict[Point, Reading]:
    return _recorded(costs.done) | read(costs.measurements.iter_rows(named=True), _cost)


def _judged(told: Finding, elsewhere: str, drifts: bool) -> Finding:
    """Return a cost with the verdict that needs no statistics.

    Times of two machines have none, nor have times of two sessions that drift; of a count any change is one.
    """
    if told.verdict in (ONLY_HERE, ONLY_THERE):
        return told
    counted = _is_counted(told)
    if elsewhere and not (counted and told.unit in COUNTED):
        return replace(told, verdict=NOT_COMPARABLE, reason=elsewhere)
    if drifts and told.verdict is None and told.theirs != told.mine:
        return replace(told, verdict=NOT_COMPARABLE, reason=DRIFT)
    return _counted(told) if counted and told.verdict is None else told


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


def _recorded(done: Sequence[Row]) -> dict[Point, Reading]:
    readings = {}
    for column, words, unit, up in RECORDED:
        values = [Interval(row[column], None, None, 1, "none") for row in done if (row[column] or 0) > 0]
        if values:
            # A step's costs are those of its own length; a token's and a model's are not.
            length = None if unit in COUNTED else done[0]["length"]
            readings[Point(words, length, None, unit, up)] = Reading(values)
    return readings


def _cost(row: Row) -> Point | None:
    """Return what a measurement is a cost of; None where it is none, or nothing that a ratio can be taken of."""
    if not is_cost(row) or row["measure"] in LEFT_OUT or (row["value"] is not None and row["value"] <= 0):
        return None
    what = f"{row['measure']}, {row['phase']}"
    return Point(what, row["length"], row["batch_size"], row["unit"], row["higher_is_better"])


def is_cost(row: Row) -> bool:
    """Whether a measurement is a cost of the whole model."""
    return is_whole(row) and row["unit"] in COST_UNITS


def _other_place(theirs: Sequence[Row], mine: Sequence[Row]) -> str:
    """Return how the machines or their settings differ; nothing where they do not."""
    one, two = ({_place(row) for row in rows} for rows in (theirs, mine))
    if one == two or not one or not two:
        return ""
    return f"the machines’ difference: {'; '.join(sorted(one))} against {'; '.join(sorted(two))}"


def _place(row: Row) -> str:
    device = (row["device"] or "").split(":")[0]
    return f"{row['device_name']} ({device}), {row['threads']} threads, {row['precision']}"
