"""What is known of each variant on each task, over its seeds, once the runs are summed up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from attention_arena.report.derived.task_summary import TaskSummary
from attention_arena.report.derived.time_ratios import TimeRatio, at_one_length
from attention_arena.statistics import Interval, geometric_mean


class Verdict(NamedTuple):
    """What a comparison, example by example, came to; see `MEANINGS` of `comparisons` and of `against_best`."""

    word: str | None
    reason: str | None
    difference: float | None
    low: float | None
    high: float | None
    unit: str | None
    p_adjusted: float | None
    n_seeds: int


@dataclass(frozen=True)
class Summary:
    """One variant on one task."""

    label: str
    variant: str
    baseline: bool
    task: str
    """The task's label."""
    n_runs: int
    """Seeds that were planned."""
    n_done: int
    n_scored: int
    """Seeds that have a score."""
    score: Interval | None
    """On test, at the step with the best validation score."""
    score_last: Interval | None
    """On test, at the last step."""
    n_at_chance: int
    """Seeds that were not shown to beat any score that needs no model."""
    verdict: Verdict | None
    """Against the baseline; None where nothing was compared."""
    against_best: Verdict | None
    """Against the variant with the best score on the task; None of itself, and where nothing was compared."""
    reasons: Mapping[str, str]
    """Status -> detail, of the runs that have no score."""
    costs: Mapping[str, Interval]
    """Column -> mean over seeds, where there is one."""
    machine: frozenset[tuple[Any, ...]]
    """Where the throughput was measured."""

    def cost(self, column: str) -> float | None:
        """Return a cost's mean over seeds."""
        interval = self.costs.get(column)
        return None if interval is None else interval.value


@dataclass(frozen=True)
class Summaries:
    """A study's tasks, variants (the baseline first) and their summaries."""

    tasks: Sequence[TaskSummary]
    labels: Sequence[str]
    cells: Mapping[tuple[str, str], Summary]
    """(label, task label) -> summary; absent where the study did not plan it."""
    time_ratios: Sequence[TimeRatio]
    references: frozenset[str]
    """Labels that are a reference for cost and no model."""
    trains: bool
    """False where the study measures only: what is done trained for 0 steps."""

    @property
    def baseline(self) -> str | None:
        """The label of the variant that others are compared with."""
        return next((cell.label for cell in self.cells.values() if cell.baseline), None)

    @property
    def said_baseline(self) -> str:
        """The baseline's name in sentences."""
        return "the baseline" if self.baseline is None else self.said(self.baseline)

    def said(self, label: str) -> str:
        """Return what a sentence calls a variant: its label without options, where no other one is called so."""
        brief = label.partition(" (")[0]
        return brief if sum(each.partition(" (")[0] == brief for each in self.labels) == 1 else label

    def of_label(self, label: str) -> list[Summary]:
        """Return a variant's summaries, task by task."""
        return [self.cells[label, task.label] for task in self.tasks if (label, task.label) in self.cells]

    def best(self, task: TaskSummary) -> Summary | None:
        """Return the variant with the best score, if scores have a direction."""
        scored = [cell for cell in self.of_task(task) if cell.score is not None]
        if not scored or task.higher_is_better is None:
            return None
        return (max if task.higher_is_better else min)(scored, key=_score_value)

    def all_at_chance(self, task: TaskSummary) -> bool:
        """Whether every run that has a score is at chance, so that none of them leads."""
        scored = [cell for cell in self.of_task(task) if cell.score is not None]
        return bool(scored) and all(cell.n_at_chance == cell.n_scored for cell in scored)

    def of_task(self, task: TaskSummary) -> list[Summary]:
        """Return a task's summaries, variant by variant."""
        return [self.cells[label, task.label] for label in self.labels if (label, task.label) in self.cells]

    def time_ratio(self, label: str, phase: str, task: str | None = None, longest: bool = True) -> TimeRatio | None:
        """Return a variant's time over the baseline's at the longest length (or the shortest) measured by turns."""
        found = [each for each in self.time_ratios if (each.label, each.phase) == (label, phase)]
        return at_one_length([each for each in found if task in (None, each.task)], longest)

    def speed_ratio(self, label: str, task: str | None = None) -> float | None:
        """Return training throughput over the baseline's: on one task, or the geometric mean over those both did.

        Only throughputs of the same machine and precision are compared.
        """
        ratios = []
        for cell in self.of_label(label):
            base = self.cells.get((self.baseline or "", cell.task))
            mine, theirs = cell.cost("tokens_per_second"), base and base.cost("tokens_per_second")
            if mine and theirs and base and cell.machine == base.machine and task in (None, cell.task):
                ratios.append(mine / theirs)
        return geometric_mean(ratios) if ratios else None


def _score_value(cell: Summary) -> float:
    assert cell.score is not None
    return cell.score.value
