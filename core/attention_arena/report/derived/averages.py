"""The Long Range Arena's averages in both definitions that are in use, each with its name and its definition in words.

Tay et al. 2020 average five tasks and leave Path-X out, which no model of theirs learnt. Later tables average six, with
50 % for a model that does not learn Path-X. The two differ by points: 54.39 and 53.66 for the same Transformer.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from attention_arena.report.derived.summary import Summaries, Summary, TaskSummary
from attention_arena.statistics import Interval

FIVE = ("listops", "text", "retrieval", "image", "pathfinder")
PATH_X = "path_x"
CHANCE = 50.0
"""Of Path-X, in percent."""
FEWEST = 3
"""Tasks of the five that a study must have for its averages to be of interest."""


@dataclass(frozen=True)
class Average:
    """One definition of the average, for every variant."""

    name: str
    definition: str
    scores: dict[str, Interval]
    """Label -> average, in percent, of the variants that have one."""
    missing: dict[str, str]
    """Label -> why there is none, of the others."""


def averages(summaries: Summaries) -> list[Average]:
    """Return the average without Path-X and the one with it; none for a study of other tasks.

    Scores at the step with the best validation score are averaged, accuracies only. Intervals add up by squares: tasks
    do not share examples, and a seed's luck on one is not its luck on another.
    """
    if sum(bool(_entries(summaries, name)) for name in FIVE) < FEWEST:
        return []
    return [
        _average(summaries, FIVE, "the five tasks without Path-X"),
        _average(summaries, (*FIVE, PATH_X), "the six tasks; a Path-X that is not learnt counts as 50 %"),
    ]


def _average(summaries: Summaries, names: Sequence[str], of: str) -> Average:
    tasks = {name: _entries(summaries, name) for name in names}
    unofficial = [(name, found[0].source) for name, found in tasks.items() if found and found[0].source != "official"]
    sort = "LRA average" if not unofficial else "average"
    kinds = dict.fromkeys(source or "unknown data" for _, source in unofficial)
    others = f"; not the Long Range Arena's own data: {_by_kind(unofficial, list(kinds))}" if unofficial else ""
    scores: dict[str, Interval] = {}
    missing: dict[str, str] = {}
    for label in summaries.labels:
        try:
            scores[label] = _mean([_score(summaries, label, name, tasks[name]) for name in names])
        except LookupError as why:
            missing[label] = str(why.args[0])
    return Average(f"{sort} of {len(names)}{_mark(kinds)}", f"Mean accuracy over {of}{others}.", scores, missing)


def _entries(summaries: Summaries, name: str) -> list[TaskSummary]:
    return [task for task in summaries.tasks if task.name == name]


def _score(summaries: Summaries, label: str, name: str, entries: Sequence[TaskSummary]) -> Interval:
    """Return what counts for one task; raises LookupError where nothing does."""
    if not entries:
        raise LookupError(f"{name} is not in the study")
    if len(entries) > 1:
        raise LookupError(f"{name} is in the study {len(entries)} times")
    [task] = entries
    cell = summaries.cells.get((label, task.label))
    if cell is None or cell.score is None:
        raise LookupError(f"no score on {name}" + (f" ({', '.join(cell.reasons)})" if cell and cell.reasons else ""))
    if task.metric != "accuracy" or task.unit != "%":
        raise LookupError(f"{name} is measured in {task.measured_in}")
    return Interval(CHANCE, CHANCE, CHANCE, 0, "none") if name == PATH_X and _never_learnt(cell) else cell.score


def _never_learnt(cell: Summary) -> bool:
    return cell.n_scored > 0 and cell.n_at_chance == cell.n_scored


def _mean(scores: Sequence[Interval]) -> Interval:
    n = len(scores)
    value = math.fsum(score.value for score in scores) / n
    below = [score.value - score.low for score in scores if score.low is not None]
    above = [score.high - score.value for score in scores if score.high is not None]
    if len(below) < n or len(above) < n:
        return Interval(value, None, None, n, "none")
    return Interval(value, value - math.hypot(*below) / n, value + math.hypot(*above) / n, n, "tasks")


def _by_kind(unofficial: Sequence[tuple[str, str | None]], kinds: Sequence[str]) -> str:
    parts = []
    for kind in kinds:
        names = [name for name, source in unofficial if (source or "unknown data") == kind]
        parts.append(f"{', '.join(names)} ({kind})")
    return "; ".join(parts)


def _mark(kinds: Collection[str]) -> str:
    """Return what the average's name says of data that are not the arena's own; stand-ins before anything else."""
    if not kinds:
        return ""
    if "stand-in" in kinds:
        return " (of stand-ins)" if len(kinds) == 1 else " (some of stand-ins)"
    return f" ({', '.join('user data' if kind == 'user' else kind for kind in kinds)})"
