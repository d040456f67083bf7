"""How each cost grows with length: the fitted exponent beside the claimed one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import polars as pl

from attention_arena.report.derived.costs import COSTS, LINE, cost_points, first_stop, sequence_costs
from attention_arena.report.reading.naming import task_labels
from attention_arena.report.reading.results import Results, once
from attention_arena.runs.record import Claim, StudyFile
from attention_arena.statistics import Interval, Point, excess, exponent, upper_half

NEAR = 0.1
"""Exponents that differ by no more are taken for equal: from 512 to 16384 tokens a factor log n alone adds as much."""
COLUMNS = {
    "study": pl.String,
    "profile": pl.String,
    "task": pl.String,
    "label": pl.String,
    "measure": pl.String,
    "phase": pl.String,
    "shortest": pl.Int64,
    "longest": pl.Int64,
    "lengths": pl.Int64,
    "exponent": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "last_exponent": pl.Float64,
    "own_exponent": pl.Float64,
    "own_low": pl.Float64,
    "own_high": pl.Float64,
    "claimed": pl.Float64,
    "at_most": pl.Boolean,
    "verdict": pl.String,
    "stopped_at": pl.Int64,
    "stopped_by": pl.String,
}


class Line(NamedTuple):
    """A curve that the study planned: some points, or none."""

    task: str
    label: str
    measure: str
    phase: str
    points: pl.DataFrame
    stop: tuple[int, str] | None
    """The first length from which on there is no value, and the status there or of the whole run."""


@once
def growth(results: Results) -> pl.DataFrame:
    """Return, for each cost curve of every study, e of cost of a sequence ~ length^e, in `COLUMNS`.

    - `shortest`, `longest`, `lengths`: what was fitted, the upper half of the lengths that have a value
      (`statistics.upper_half`). Null where fewer than two have one.
    - `exponent`, `low`, `high`: with its 95 % interval (`statistics.exponent`); `last_exponent`: between the two
      longest lengths alone, by which a curve that still bends shows.
    - `own_exponent`, `own_low`, `own_high`: of attention alone, which is what claims are about: the cost less that of
      the study's reference, in which attention is replaced by passing values through. Null where there is none, and
      where the cost is not the greater at every length that was fitted.
    - `claimed`, `at_most`: the variant's claim under its options, of time or of memory; null where it has none.
    - `verdict`: of `own_exponent` where there is one, else of `exponent`: `as claimed`, `within the claim` (a bound),
      `above the claim`, `below the claim`, `no claim`; or why there is none: `too few lengths`, or the status at all.
    - `stopped_at`, `stopped_by`: the first length from which on there is no value, and the status there.
    """
    rows = [
        {"study": study.study, "profile": study.profile} | row
        for study in results.studies
        for row in _of_study(results.of(study), study)
    ]
    return pl.DataFrame(rows, COLUMNS)


def _of_study(results: Results, study: StudyFile) -> Iterator[dict[str, Any]]:
    found = lines(results)
    references = {
        (line.task, line.measure, line.phase): sequence_costs(line.points)
        for line in found
        if line.label in study.references
    }
    for line in found:
        beside = [] if line.label in study.references else references.get((line.task, line.measure, line.phase), [])
        yield _row(line, study.claims.get(line.label), beside)


@once
def lines(results: Results) -> Sequence[Line]:
    """Return one study's costs that were measured at two lengths or more, for every variant planned on their task."""
    return list(_lines(results))


def _lines(results: Results) -> Iterator[Line]:
    found = cost_points(results).filter(pl.col("measure").is_in(list(COSTS)))
    names = task_labels(results.runs.select("task", "task_options").iter_rows())
    runs = [
        (names[task, options], label, status)
        for task, options, label, status in results.runs.select("task", "task_options", "label", "status").iter_rows()
    ]
    for measure in COSTS:
        kinds = found.filter(pl.col("measure") == measure)
        for task, phase in kinds.select("task", "phase").unique(maintain_order=True).iter_rows():
            mine = kinds.filter((pl.col("task") == task) & (pl.col("phase") == phase))
            if mine["length"].n_unique() < 2:
                continue
            # Of several seeds the first is measured; a run that is not done has a status in place of points.
            status = {label: status for name, label, status in reversed(runs) if name == task}
            measured = mine.partition_by("label", maintain_order=True, as_dict=True)
            for label in dict.fromkeys(label for name, label, _ in runs if name == task):
                points = measured.get((label,), mine.clear())
                never = None if status[label] == "done" else (int(mine["length"].min()), status[label])  # type: ignore[arg-type]
                yield Line(task, label, measure, phase, points, first_stop(points) if len(points) else never)


def _row(line: Line, claim: Claim | None, reference: Sequence[Point]) -> dict[str, Any]:
    points = sequence_costs(line.points)
    row: dict[str, Any] = dict.fromkeys(COLUMNS) | {name: getattr(line, name) for name in LINE}
    row |= {"stopped_at": line.stop and line.stop[0], "stopped_by": line.stop and line.stop[1]}
    if claim is not None:
        row |= {"claimed": getattr(claim, COSTS[line.measure].kind), "at_most": claim.at_most}
    if len(points) < 2:
        return row | {"verdict": line.stop[1] if line.stop and not points else "too few lengths"}
    fitted = upper_half(points)
    fit, own = exponent(fitted), _own_exponent(fitted, reference)
    return row | {
        "shortest": int(fitted[0].length),
        "longest": int(fitted[-1].length),
        "lengths": len(fitted),
        "exponent": fit.value,
        "low": fit.low,
        "high": fit.high,
        "last_exponent": exponent(fitted[-2:]).value,
        "own_exponent": own and own.value,
        "own_low": own and own.low,
        "own_high": own and own.high,
        "verdict": _verdict(own or fit, row["claimed"], bool(row["at_most"])),
    }


def _own_exponent(points: Sequence[Point], reference: Sequence[Point]) -> Interval | None:
    """Return the exponent of what the points have more than the reference at the same lengths."""
    more = excess(points, reference)
    return exponent(more) if len(more) >= 2 and all(each.value > 0 for each in more) else None


def _verdict(fit: Interval, claimed: float | None, at_most: bool) -> str:
    if claimed is None:
        return "no claim"
    lowest = min(fit.value - NEAR, fit.value if fit.low is None else fit.low)
    highest = max(fit.value + NEAR, fit.value if fit.high is None else fit.high)
    if lowest > claimed:
        return "above the claim"
    if at_most:
        return "within the claim"
    return "below the claim" if highest < claimed else "as claimed"
