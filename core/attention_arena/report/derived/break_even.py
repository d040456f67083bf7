"""From which length on each variant costs less than the baseline, and than the baseline's other forms."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import polars as pl

from attention_arena.report.derived.costs import RATIO, cost_points, sequence_costs
from attention_arena.report.derived.growth import Line, lines
from attention_arena.report.reading.results import Results, once
from attention_arena.statistics import BreakEven, Point, break_even, cost_ratios

COLUMNS = {
    "study": pl.String,
    "profile": pl.String,
    "task": pl.String,
    "label": pl.String,
    "measure": pl.String,
    "phase": pl.String,
    "against": pl.String,
    "timed": pl.String,
    "shortest": pl.Int64,
    "longest": pl.Int64,
    "verdict": pl.String,
    "break_even": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "words": pl.String,
}


@once
def break_evens(results: Results) -> pl.DataFrame:
    """Return, for each cost curve of every study, the length from which on it stays below each rival's, in `COLUMNS`.

    - `against`: the rival, the study's baseline or another entry of the baseline's variant (softmax, fused and naive).
    - `timed`: `together`, where the two were timed in turn, which cancels the machine's moods; `apart` otherwise.
    - `shortest`, `longest`: the lengths that both have.
    - `verdict`: `found`, `none` (up to the longest length) or `always` (from the shortest length on).
    - `break_even`, `low`, `high`: with its 95 % interval (`statistics.break_even`). A null end lies outside the
      lengths; both are null where the ratios have no intervals.
    - `words`: all of it as a reader wants it.
    """
    rows = [
        {"study": study.study, "profile": study.profile} | row
        for study in results.studies
        for row in _of_study(results.of(study), study.references)
    ]
    return pl.DataFrame(rows, COLUMNS)


def _of_study(results: Results, references: Collection[str]) -> Iterator[dict[str, Any]]:
    for each in comparisons(results):
        if each.line.label not in references:
            yield _row(each.line, each.rival, break_even(each.ratios), each.timed)


class Compared(NamedTuple):
    """A cost curve over a rival's."""

    line: Line
    rival: Line
    ratios: list[Point]
    timed: str


@once
def comparisons(results: Results) -> Sequence[Compared]:
    """Return, of one study, every cost curve over each rival's, where there is a length that both have."""
    return list(_comparisons(results))


def _comparisons(results: Results) -> Iterator[Compared]:
    ratios = _timed_together(results)
    planned = {line[:4]: (line, sequence_costs(line.points)) for line in lines(results)}
    for line, costs in planned.values():
        for place, name in enumerate(rivals(results)):
            rival, theirs = planned.get((line.task, name, line.measure, line.phase), (None, []))
            if rival is None or name == line.label:
                continue
            # The first rival is the baseline, beside which runs are timed.
            together = place == 0 and line.measure == "step_time" and ratios.get((line.task, line.label, line.phase))
            found = together or cost_ratios(costs, theirs)
            if found:
                yield Compared(line, rival, found, "together" if together else "apart")


@once
def rivals(results: Results) -> list[str]:
    """Return, of one study, the baseline's label and then those of its variant's other entries; none without one."""
    runs = results.runs.select("label", "variant", "baseline").unique(maintain_order=True)
    variants = runs.filter(pl.col("baseline"))["variant"].to_list()
    same = runs.filter(pl.col("variant").is_in(variants)).sort("baseline", descending=True, maintain_order=True)
    return list(dict.fromkeys(same["label"]))


def _timed_together(results: Results) -> dict[tuple[Any, ...], list[Point]]:
    """Return the ratios that were timed in turn, by task, label and phase."""
    found = cost_points(results).filter((pl.col("measure") == RATIO) & pl.col("value").is_not_null())
    points: dict[tuple[Any, ...], list[Point]] = {}
    for *key, length, value, low, high in found.select("task", "label", "phase", *Point._fields).iter_rows():
        points.setdefault(tuple(key), []).append(Point(length, value, low, high))
    return points


def _row(line: Line, rival: Line, found: BreakEven, timed: str) -> dict[str, Any]:
    return {
        "task": line.task,
        "label": line.label,
        "measure": line.measure,
        "phase": line.phase,
        "against": rival.label,
        "timed": timed,
        "shortest": int(found.shortest),
        "longest": int(found.longest),
        "verdict": found.verdict,
        "break_even": found.value,
        "low": found.low,
        "high": found.high,
        "words": in_words(found) + _end(line, rival, found),
    }


def in_words(found: BreakEven) -> str:
    """Return a break-even as a table shows it: `2,310 [2,050, 2,600]`, `none up to 16,384`, `below 512`."""
    if found.verdict == "always":
        return f"below {found.shortest:,.0f}"
    if found.verdict == "none":
        return f"none up to {found.longest:,.0f}"
    if found.basis == "none":
        return f"{found.value:,.0f}"
    low = f"below {found.shortest:,.0f}" if found.low is None else f"{found.low:,.0f}"
    high = f"beyond {found.longest:,.0f}" if found.high is None else f"{found.high:,.0f}"
    return f"{found.value:,.0f} [{low}, {high}]"


def _end(line: Line, rival: Line, found: BreakEven) -> str:
    """Return what ended the comparison before the last length: the curve's own end, or the rival's where it leads."""
    own, other = line.stop, rival.stop
    if own is not None and own[0] > found.longest:
        return f"; {own[1]} at {own[0]:,}"
    if found.verdict == "none" and other is not None and other[0] > found.longest:
        return f"; {rival.label} {other[1]} at {other[0]:,}"
    return ""
