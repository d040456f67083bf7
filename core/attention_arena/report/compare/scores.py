"""A variant's score by a metric on both sides: paired where they saw the same examples, else by the spread of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from attention_arena.report.compare.finding import (
    GOT_WORSE,
    IMPROVED,
    NOT_COMPARABLE,
    Finding,
)
from attention_arena.report.compare.matching import Cell, Row
from attention_arena.report.derived.pairing import Pair, Scores
from attention_arena.report.derived.scores import ScoreReader
from attention_arena.statistics import compare_unpaired, mean_interval

FAILURES = ("failed", "diverged", "oom", "timeout", "unsupported")


class ScoreComparer:
    """Compares scores of two sides; `theirs` reads the first's intervals, `mine` the other's."""

    def __init__(self, theirs: ScoreReader, mine: ScoreReader) -> None:
        self.theirs, self.mine = theirs, mine

    def compare(self, theirs: Cell, mine: Cell, scores: Scores, blank: Finding) -> Finding | None:
        """Return what became of the score; None where neither side has one or lacks one it should have."""
        one, two = _scored(theirs), _scored(mine)
        finding = _described(blank, theirs, mine)
        if not one or not two:
            return _one_sided(finding, theirs, mine, bool(one), bool(two))
        finding = replace(finding, theirs=_mean(one), mine=_mean(two))
        obstacle = _obstacle(one[0], two[0])
        if obstacle:
            return replace(finding, verdict=NOT_COMPARABLE, reason=obstacle)
        pair = Pair(_by_seed(two), _by_seed(one), max(len(mine.rows), len(theirs.rows)))
        common = set(pair.mine) & set(pair.theirs)
        if common:
            told = scores.compare(pair)
            if told.comparison is not None:
                means = (_mean([rows[seed] for seed in common]) for rows in (pair.theirs, pair.mine))
                finding = replace(finding, theirs=next(means), mine=next(means))
                return replace(finding, found=told.comparison, reason=told.reason or "")
            return self._unpaired(finding, one, two, told.reason or "no predictions")
        return self._unpaired(finding, one, two, "no seed in common")

    def _unpaired(self, finding: Finding, theirs: list[Row], mine: list[Row], why: str) -> Finding:
        runs = [self.mine.of_run(row) for row in mine], [self.theirs.of_run(row) for row in theirs]
        found = compare_unpaired(*runs, ratio=finding.ratio)
        if found is None:
            return replace(finding, reason=f"one seed, and nothing says how it varies; not paired: {why}")
        return replace(finding, found=found, reason=f"not paired: {why}")


def _described(blank: Finding, theirs: Cell, mine: Cell) -> Finding:
    def either(column: str) -> object:
        found = mine.first(column)
        return theirs.first(column) if found is None else found

    metric, unit = str(either("metric") or "score"), either("unit")
    return replace(
        blank,
        what=metric,
        unit=str(unit) if unit else None,
        higher_is_better=bool(either("higher_is_better")),
        ratio=metric.endswith("perplexity"),
    )


def _scored(cell: Cell) -> list[Row]:
    return [row for row in cell.done if row["value"] is not None and math.isfinite(row["value"])]


def _by_seed(rows: list[Row]) -> dict[int, Row]:
    return {row["seed"]: row for row in rows}


def _mean(rows: Sequence[Row]) -> float:
    return mean_interval([row["value"] for row in rows]).value


def _obstacle(theirs: Row, mine: Row) -> str:
    """Return why two scores cannot be compared at all; nothing where they can."""
    for key, words in (("metric", "metrics"), ("unit", "units")):
        if theirs[key] != mine[key]:
            return f"other {words}: {theirs[key]} against {mine[key]}"
    return other_question(theirs, mine) or ("the metric has no direction" if mine["higher_is_better"] is None else "")


def other_question(theirs: Row, mine: Row) -> str:
    """Return how two runs were asked different things; nothing where they were not."""
    if theirs["task_version"] != mine["task_version"]:
        return f"other versions of the task: {theirs['task_version']} against {mine['task_version']}"
    return "scored on other data" if theirs["data_hash"] != mine["data_hash"] else ""


def _one_sided(finding: Finding, theirs: Cell, mine: Cell, has_theirs: bool, has_mine: bool) -> Finding | None:
    """Return what a missing score means: a run that fails where it did not is a change for the worse."""
    if not has_theirs and not has_mine:
        return None
    missing, there = (mine, theirs) if has_theirs else (theirs, mine)
    status = next((row for row in missing.rows if row["status"] in FAILURES), missing.rows[0])
    detail = f": {status['detail'].splitlines()[0]}" if status["detail"] else ""
    value = _mean(_scored(there))
    finding = replace(finding, theirs=value) if has_theirs else replace(finding, mine=value)
    if status["status"] not in FAILURES:
        words = "no score" if status["status"] == "done" else status["status"]
        return replace(finding, verdict=NOT_COMPARABLE, reason=f"{words} on one side{detail}")
    if has_theirs:
        return replace(finding, verdict=GOT_WORSE, reason=f"{status['status']} now{detail}")
    return replace(finding, verdict=IMPROVED, reason=f"{status['status']} before{detail}")
