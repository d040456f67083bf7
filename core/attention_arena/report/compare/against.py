"""One side against the first: findings with verdicts, and what else differs between the two."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from attention_arena.report.compare.costs import Costs, cost_findings
from attention_arena.report.compare.finding import (
    GOT_WORSE,
    ONLY_HERE,
    ONLY_THERE,
    Finding,
    counts,
    decided,
)
from attention_arena.report.compare.matching import Cell, Match, match, runs_folder
from attention_arena.report.compare.scores import ScoreComparer
from attention_arena.report.compare.sides import Side
from attention_arena.report.derived.pairing import Scores
from attention_arena.report.derived.scores import ScoreReader
from attention_arena.report.reading.naming import source_mark, task_labels

COLUMNS: Mapping[str, Any] = {
    "first": pl.String,
    "other": pl.String,
    "kind": pl.String,
    "task": pl.String,
    "label": pl.String,
    "what": pl.String,
    "length": pl.Int64,
    "unit": pl.String,
    "value_first": pl.Float64,
    "value_other": pl.Float64,
    "change": pl.Float64,
    "change_unit": pl.String,
    "low": pl.Float64,
    "high": pl.Float64,
    "p": pl.Float64,
    "p_adjusted": pl.Float64,
    "n_seeds": pl.Int64,
    "verdict": pl.String,
    "reason": pl.String,
}
MEANINGS: Mapping[str, str] = {
    "first": "path of the side that all others are compared with",
    "other": "path of the side that is compared with it",
    "kind": "score or cost",
    "task": "the task, with a mark where its data are not the official ones",
    "label": "the variant",
    "what": "metric, or measure and phase; null where the variant has a task on one side alone",
    "length": "tokens, of a cost",
    "unit": "of the two values",
    "value_first": "mean over seeds; of costs the geometric mean",
    "value_other": "the same of the other side",
    "change": "other minus first, or other over first",
    "change_unit": "of change, low and high: points (of percent), the metric's unit, or × for a ratio",
    "low": "lower end of its 95 % interval, not adjusted for the number of comparisons",
    "high": "upper end",
    "p": "two-sided p of no change",
    "p_adjusted": "p after Holm's correction over the scores, or over the costs, of the two sides",
    "n_seeds": "seeds behind the change",
    "verdict": "improved, got worse, no difference shown, only in the first, only in the other, not comparable",
    "reason": "why there is no verdict, or what limits it",
}


@dataclass(frozen=True)
class Against:
    """What became of the first side's runs on another."""

    first: Side
    other: Side
    findings: Sequence[Finding]
    """Worst first."""
    differing: Sequence[str]
    """Settings that differ, in words, with how many of the matched variants and tasks they hold for."""

    @cached_property
    def summary(self) -> str:
        """The verdicts counted: `1 got worse, 2 improved`."""
        names = {ONLY_THERE: f"only in {self.first.letter}", ONLY_HERE: f"only in {self.other.letter}"}
        return f"{self.other.letter} against {self.first.letter}: {counts(self.findings, names)}"

    @property
    def got_worse(self) -> bool:
        """Whether anything did."""
        return any(each.verdict == GOT_WORSE for each in self.findings)

    def verdict(self, finding: Finding) -> str:
        """Return a verdict with the sides' letters."""
        words = {ONLY_THERE: f"only in {self.first.letter}", ONLY_HERE: f"only in {self.other.letter}"}
        return words.get(finding.verdict or "", finding.verdict or "")

    def frame(self) -> pl.DataFrame:
        """Return a row for each finding; see `MEANINGS`."""
        return pl.DataFrame([self._row(each) for each in self.findings], COLUMNS)

    def _row(self, finding: Finding) -> dict[str, Any]:
        found = finding.found
        return {
            "first": str(self.first.path),
            "other": str(self.other.path),
            **{name: getattr(finding, name) for name in ("kind", "task", "label", "length", "unit", "p_adjusted")},
            "what": finding.what or None,
            "value_first": finding.theirs,
            "value_other": finding.mine,
            "change": found.difference if found else None,
            "change_unit": change_unit(finding) if found else None,
            "low": found.low if found else None,
            "high": found.high if found else None,
            "p": found.p if found else None,
            "n_seeds": found.n_seeds if found else None,
            "verdict": finding.verdict,
            "reason": finding.reason or None,
        }


def change_unit(finding: Finding) -> str | None:
    """Return the unit of a change: of percent it is points."""
    if finding.ratio:
        return "×"
    return "points" if finding.unit == "%" else finding.unit


def compare_sides(first: Side, other: Side) -> Against:
    """Compare a side with the first: scores example by example where they can be, costs by their intervals."""
    matches = match(first, other)
    return Against(first, other, decided(list(_findings(first, other, matches))), _differing(matches))


def _findings(first: Side, other: Side, matches: Sequence[Match]) -> Iterator[Finding]:
    comparer = ScoreComparer(ScoreReader(first.results.measurements), ScoreReader(other.results.measurements))
    names = [task_labels(side.results.runs.select("task", "task_options").iter_rows()) for side in (first, other)]
    scores: dict[tuple[Path, Path], Scores] = {}
    for each in matches:
        cell = each.theirs or each.mine
        assert cell is not None
        blank = Finding("score", _heading(names[each.theirs is None], cell), cell.key.label, "")
        if each.theirs is None or each.mine is None:
            verdict = ONLY_HERE if each.theirs is None else ONLY_THERE
            yield Finding("score", blank.task, blank.label, "", verdict=verdict)
            continue
        folders = runs_folder(other, each.mine), runs_folder(first, each.theirs)
        read = scores.setdefault(folders, Scores(*folders))
        score = comparer.compare(each.theirs, each.mine, read, blank)
        if score is not None:
            yield score
        yield from cost_findings(_costs(first, each.theirs), _costs(other, each.mine), blank)


def _heading(names: Mapping[tuple[str, str | None], str], cell: Cell) -> str:
    return names[cell.key.task, cell.key.task_options] + source_mark(cell.first("source"))


def _costs(side: Side, cell: Cell) -> Costs:
    study, profile, task, options, label = cell.key
    of_task = (
        (pl.col("study") == study)
        & (pl.col("profile") == profile)
        & (pl.col("task") == task)
        & pl.col("task_options").eq_missing(pl.lit(options))
    )
    rows = side.results.measurements.filter(of_task & (pl.col("label") == label))
    baselines = side.results.runs.filter(of_task & pl.col("baseline"))["label"].to_list()
    return Costs(cell.done, rows, baselines[0] if baselines else None)


def _differing(matches: Sequence[Match]) -> list[str]:
    found: dict[str, int] = {}
    matched = [each for each in matches if each.theirs is not None and each.mine is not None]
    for each in matched:
        for path, (theirs, mine) in each.differing.items():
            words = f"{path}: {json.dumps(theirs)} → {json.dumps(mine)}"
            found[words] = found.get(words, 0) + 1
    return [f"{words} ({n} of {len(matched)})" for words, n in found.items()]
