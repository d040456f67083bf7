"""One side against the first: findings with verdicts, and what else differs between the two."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import polars as pl

from attention_arena.report.compare.columns import COLUMNS, row_of
from attention_arena.report.compare.costs import Costs, cost_findings
from attention_arena.report.compare.finding import (
    CHANGED,
    GOT_WORSE,
    KINDS,
    ONLY_HERE,
    ONLY_THERE,
    WORST_FIRST,
    Finding,
    Kind,
    counts,
    decided,
)
from attention_arena.report.compare.matching import Cell, Match, match, runs_folder
from attention_arena.report.compare.qualities import Qualities, measured_findings, metric_findings
from attention_arena.report.compare.scores import ScoreComparer
from attention_arena.report.compare.sides import Side
from attention_arena.report.derived.pairing import Scores
from attention_arena.report.derived.scores import ScoreReader
from attention_arena.report.reading.naming import source_mark, task_labels


@dataclass(frozen=True)
class Against:
    """What became of the first side's runs on another."""

    first: Side
    other: Side
    findings: Sequence[Finding]
    """Worst first."""
    differing: Sequence[str]
    """Settings that differ, in words, with how many of the matched variants and tasks they hold for."""

    @property
    def names(self) -> Mapping[str, str]:
        """Verdict -> its words, where they name a side."""
        return {ONLY_THERE: f"only in {self.first.letter}", ONLY_HERE: f"only in {self.other.letter}"}

    @property
    def title(self) -> str:
        """`B against A`."""
        return f"{self.other.letter} against {self.first.letter}"

    @cached_property
    def summary(self) -> str:
        """The verdicts counted: `B against A: 1 got worse, 2 improved`."""
        return f"{self.title}: {counts(self.findings, self.names)}"

    @property
    def verdicts(self) -> list[str]:
        """The verdicts that were given: what changed first."""
        given = {each.verdict for each in self.findings}
        return [verdict for verdict in dict.fromkeys((*CHANGED, *WORST_FIRST)) if verdict in given]

    @property
    def counted(self) -> list[tuple[Kind, list[int]]]:
        """How often each of the `verdicts` was given, for each kind that there is."""
        found = Counter((each.kind, each.verdict) for each in self.findings)
        rows = [(kind, [found[kind, verdict] for verdict in self.verdicts]) for kind in KINDS]
        return [(kind, numbers) for kind, numbers in rows if any(numbers)]

    def of(self, kind: Kind) -> list[Finding]:
        """Return the findings of a kind, worst first."""
        return [each for each in self.findings if each.kind == kind]

    @property
    def got_worse(self) -> bool:
        """Whether anything did."""
        return any(each.verdict == GOT_WORSE for each in self.findings)

    def verdict(self, finding: Finding) -> str:
        """Return a verdict with the sides' letters."""
        return self.names.get(finding.verdict or "", finding.verdict or "")

    def frame(self) -> pl.DataFrame:
        """Return a row for each finding; see `columns.MEANINGS`."""
        rows = [{"first": str(self.first.path), "other": str(self.other.path)} | row_of(each) for each in self.findings]
        return pl.DataFrame(rows, COLUMNS)


def compare_sides(sides: Sequence[Side]) -> list[Against]:
    """Compare every further side with the first: what can be, example by example, and the rest by its intervals."""
    first, *others = sides
    matches = [match(first, other) for other in others]
    found = [list(_findings(first, other, pairs)) for other, pairs in zip(others, matches, strict=True)]
    return [
        Against(first, other, findings, _differing(pairs))
        for other, findings, pairs in zip(others, decided(found), matches, strict=True)
    ]


def _findings(first: Side, other: Side, matches: Sequence[Match]) -> Iterator[Finding]:
    comparer = ScoreComparer(ScoreReader(first.results.measurements), ScoreReader(other.results.measurements))
    names = [task_labels(side.results.runs.select("task", "task_options").iter_rows()) for side in (first, other)]
    for each in matches:
        cell = each.theirs or each.mine
        assert cell is not None
        blank = Finding("score", _heading(names[each.theirs is None], cell), cell.key.label, "")
        if each.theirs is None or each.mine is None:
            yield replace(blank, verdict=ONLY_HERE if each.theirs is None else ONLY_THERE)
        else:
            yield from _of_cell(first, other, (each.theirs, each.mine), comparer, blank)


def _of_cell(
    first: Side, other: Side, cells: tuple[Cell, Cell], comparer: ScoreComparer, blank: Finding
) -> Iterator[Finding]:
    theirs, mine = cells
    folders = runs_folder(other, mine), runs_folder(first, theirs)
    score = comparer.compare(theirs, mine, Scores(*folders), blank)
    if score is not None:
        yield score
    rows = _measurements(first, theirs), _measurements(other, mine)
    qualities = Qualities(theirs, rows[0]), Qualities(mine, rows[1])
    yield from metric_findings(*qualities, comparer, folders, blank)
    yield from measured_findings(*qualities, blank)
    costs = Costs(theirs.done, rows[0], _baseline(first, theirs)), Costs(mine.done, rows[1], _baseline(other, mine))
    yield from cost_findings(*costs, blank)


def _heading(names: Mapping[tuple[str, str | None], str], cell: Cell) -> str:
    return names[cell.key.task, cell.key.task_options] + source_mark(cell.first("source"))


def _of_task(cell: Cell) -> pl.Expr:
    study, profile, task, options, _ = cell.key
    named = (pl.col("study") == study) & (pl.col("profile") == profile) & (pl.col("task") == task)
    return named & pl.col("task_options").eq_missing(pl.lit(options))


def _measurements(side: Side, cell: Cell) -> pl.DataFrame:
    return side.results.measurements.filter(_of_task(cell) & (pl.col("label") == cell.key.label))


def _baseline(side: Side, cell: Cell) -> str | None:
    """Return the label of the variant beside which ratios of time were measured."""
    return next(iter(side.results.runs.filter(_of_task(cell) & pl.col("baseline"))["label"]), None)


def _differing(matches: Sequence[Match]) -> list[str]:
    found: dict[str, int] = {}
    matched = [each for each in matches if each.theirs is not None and each.mine is not None]
    for each in matched:
        for path, (theirs, mine) in each.differing.items():
            words = f"{path}: {json.dumps(theirs)} → {json.dumps(mine)}"
            found[words] = found.get(words, 0) + 1
    return [f"{words} ({n} of {len(matched)})" for words, n in found.items()]
