"""What else a study measured of how good a model is: further metrics, metrics by protocol, and diagnostics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import polars as pl

from attention_arena.report.compare.costs import LEFT_OUT, is_cost
from attention_arena.report.compare.finding import NOT_COMPARABLE, ONLY_HERE, ONLY_THERE, Finding, Kind
from attention_arena.report.compare.matching import Cell, Row
from attention_arena.report.compare.readings import Point, compare_readings, described, is_whole, read
from attention_arena.report.compare.scores import ScoreComparer, other_question
from attention_arena.report.derived.pairing import Scores

SCORED = "test, best step"
"""Phase of a metric on test, with the weights that validation chose."""
SPLITS = (SCORED, "test, last step", "validation, best step")


class Qualities(NamedTuple):
    """What a side has to say of a cell's quality."""

    cell: Cell
    measurements: pl.DataFrame
    """Of its runs that are done."""

    def by(self, metric: str) -> Cell:
        """Return the cell with another metric for its score; a run without it has none."""
        mine = (pl.col("measure") == metric) & (pl.col("phase") == SCORED)
        found = {row["run"]: row for row in self.measurements.filter(mine).iter_rows(named=True)}
        return Cell([_by(row, metric, found.get(row["run"])) for row in self.cell.rows])


def _by(row: Row, metric: str, found: Row | None) -> Row:
    told = {key: found[key] if found else None for key in ("unit", "value", "higher_is_better")}
    return {**row, **told, "metric": metric}


def metric_findings(
    theirs: Qualities, mine: Qualities, comparer: ScoreComparer, folders: tuple[Path, Path], blank: Finding
) -> Iterator[Finding]:
    """Yield what became of the score by each further metric of the task.

    Nothing where a side has no run that is done, which the finding of its score tells. `folders` hold the runs, of the
    other side and of the first.
    """
    if not theirs.cell.done or not mine.cell.done:
        return
    finding = replace(blank, kind="metric")
    one, two = _metrics(theirs), _metrics(mine)
    for metric in dict.fromkeys((*one, *two)):
        if metric in one and metric in two:
            # Scores keeps what it has read by run alone, so each metric has its own.
            found = comparer.compare(theirs.by(metric), mine.by(metric), Scores(*folders), finding)
            if found is not None:
                yield found
        else:
            yield replace(finding, what=metric, verdict=ONLY_THERE if metric in one else ONLY_HERE)


def _metrics(side: Qualities) -> list[str]:
    """Return the further metrics, in the order in which the task has them."""
    first = side.cell.first("metric")
    rows = side.measurements.filter((pl.col("phase") == SCORED) & pl.col("value").is_finite())
    return [metric for metric in rows["measure"].unique(maintain_order=True) if metric != first]


def measured_findings(theirs: Qualities, mine: Qualities, blank: Finding) -> Iterator[Finding]:
    """Yield what became of each metric by protocol, and of each diagnostic that is one figure with a direction.

    Their rows keep no examples, so the two sides are compared by their intervals.
    """
    metrics = {metric for side in (theirs, mine) for metric in (side.cell.first("metric"), *_metrics(side))}
    one, two = ({} if not side.cell.done else read(side.measurements.iter_rows(named=True), _quality)
                for side in (theirs, mine))  # fmt: skip
    obstacle = other_question(theirs.cell.done[0], mine.cell.done[0]) if one and two else ""
    for point in dict.fromkeys((*one, *two)):
        measure = point.what.partition(",")[0]
        kind: Kind = "metric" if measure in metrics else "diagnostic"
        finding = described(replace(blank, kind=kind, ratio=measure.endswith("perplexity")), point)
        for each in compare_readings(finding, one.get(point), two.get(point)):
            comparable = each.verdict in (ONLY_THERE, ONLY_HERE) or not obstacle
            yield each if comparable else replace(each, found=None, verdict=NOT_COMPARABLE, reason=obstacle)


def _quality(row: Row) -> Point | None:
    """Return what a measurement is a quality of.

    None where it is none, or a score on a split, which is compared as such, or a perplexity that none can be.
    """
    if not is_whole(row) or is_cost(row) or row["measure"] in LEFT_OUT or row["phase"] in SPLITS:
        return None
    if row["measure"].endswith("perplexity") and row["value"] is not None and row["value"] <= 0:
        return None
    return Point(f"{row['measure']}, {row['phase']}", row["length"], None, row["unit"], row["higher_is_better"])
