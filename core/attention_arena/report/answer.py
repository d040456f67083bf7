"""The answer table: variants down, each task's score and the costs across; a cell without a number says why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from attention_arena.report.numbers import count, decimals_for, fixed, ratio, significant, size, spread
from attention_arena.report.summary import Summaries, Summary, TaskSummary
from attention_arena.statistics import Interval, geometric_mean

WORST_FIRST = ("failed", "diverged", "oom", "timeout", "unsupported", "no score", "running", "pending")
MARKS = "†‡§¶"


@dataclass(frozen=True)
class Cell:
    """What one cell shows."""

    text: str
    """The number, or the word that says why there is none."""
    note: str = ""
    """The interval, and how many runs are behind it if not all."""
    detail: str = ""
    """The reason at length."""
    value: float | None = None
    best: bool = False
    tied: bool = False
    """Its interval overlaps that of the best."""
    flag: str = ""
    """`at chance`: it beats no score that needs no model."""
    mark: str = ""
    """Points to the note that names the weakest score without a model that it does not beat."""


@dataclass(frozen=True)
class Column:
    """A column's heading."""

    title: str
    below: str
    """Metric, unit and direction."""


@dataclass(frozen=True)
class AnswerRow:
    """A variant, or a score that needs none."""

    label: str
    cells: Sequence[Cell]
    baseline: bool = False
    trivial: bool = False


@dataclass(frozen=True)
class AnswerTable:
    """The table as it is shown; `notes` explain its marks."""

    columns: Sequence[Column]
    rows: Sequence[AnswerRow]
    n_scores: int
    """How many of the columns, from the left, are scores."""
    notes: Sequence[str]


class Cost(NamedTuple):
    """A cost column."""

    name: str
    title: str
    below: str
    write: Callable[[float], str]


COST_COLUMNS = (
    Cost("tokens_per_second", "training speed", "tokens/s ↑", count),
    Cost("speed_ratio", "speed ratio", "to the baseline", ratio),
    Cost("peak_memory_bytes", "peak memory", "of the run ↓", size),
    Cost("saved_for_backward_bytes", "saved for backward", "of a step ↓", size),
    Cost("parameters", "parameters", "count", count),
    Cost("flops_per_token", "FLOPs", "per token ↓", count),
)


def answer_table(summaries: Summaries) -> AnswerTable:
    """Return a study's answer table: all tasks' scores, and costs as geometric means over its tasks."""
    return _table(summaries, summaries.tasks, COST_COLUMNS)


def cost_table(summaries: Summaries, task: TaskSummary) -> AnswerTable:
    """Return the costs on one task alone, with the time of a step."""
    step = Cost("step_ms", "training step", "ms ↓", significant)
    table = _table(summaries, [task], (COST_COLUMNS[0], COST_COLUMNS[1], step, *COST_COLUMNS[2:]))
    rows = [
        AnswerRow(row.label, row.cells[1:], row.baseline) for row in table.rows if not row.trivial and row.cells[0].text
    ]
    return AnswerTable(table.columns[1:], rows, 0, [])


def _table(summaries: Summaries, tasks: Sequence[TaskSummary], costs: Sequence[Cost]) -> AnswerTable:
    if summaries.baseline is None:
        costs = [cost for cost in costs if cost.name != "speed_ratio"]
    marks = _marks(tasks)
    scores = {task.label: _scores(summaries, task, marks) for task in tasks}
    rows = [
        AnswerRow(
            label,
            [scores[task.label][label] for task in tasks] + [_cost(summaries, label, tasks, cost) for cost in costs],
            baseline=label == summaries.baseline,
        )
        for label in summaries.labels
    ]
    columns = [Column(task.heading, task.measured_briefly) for task in tasks]
    columns += [Column(cost.title, cost.below) for cost in costs]
    return AnswerTable(columns, rows + _trivial(tasks, len(costs)), len(tasks), _notes(rows, summaries, tasks, marks))


def _scores(summaries: Summaries, task: TaskSummary, marks: Mapping[str, str]) -> Mapping[str, Cell]:
    cells = summaries.of_task(task)
    values = [cell.score.value for cell in cells if cell.score is not None]
    decimals = decimals_for(values + list(task.trivial.values()), task.unit == "%")
    best = summaries.best(task)
    shown = {cell.label: _score(cell, task, best, decimals, marks) for cell in cells}
    return {label: shown.get(label, Cell("", detail="not planned")) for label in summaries.labels}


def _score(cell: Summary, task: TaskSummary, best: Summary | None, decimals: int, marks: Mapping[str, str]) -> Cell:
    if cell.score is None:
        return reason(cell.reasons)
    unbeaten, chance = task.unbeaten(cell.score.value), task.at_chance(cell.score.value)
    leading = best is not None and best.score is not None and best.label == cell.label
    tied = best is not None and best.score is not None and not leading and bool(cell.score.overlaps(best.score))
    return Cell(
        fixed(cell.score.value, decimals),
        note=", ".join(part for part in (spread(cell.score, decimals), _coverage(cell)) if part),
        detail=basis(cell.score) + "".join(f"; {status}: {detail}" for status, detail in cell.reasons.items()),
        value=cell.score.value,
        best=leading,
        tied=tied,
        flag="at chance" if chance else "",
        mark=marks[unbeaten[0]] if unbeaten and not chance else "",
    )


def _coverage(cell: Summary) -> str:
    return f"{cell.n_scored} of {cell.n_runs} seeds ({', '.join(cell.reasons)})" if cell.reasons else ""


def basis(interval: Interval) -> str:
    """Return what a score's interval rests on, in words."""
    if interval.basis == "seeds":
        return f"95 % t interval of the mean over {interval.n} seeds"
    if interval.basis == "examples":
        return f"one seed; 95 % Wilson interval from {interval.n:,} test examples, blind to the spread between seeds"
    return "one seed, no interval"


def reason(reasons: Mapping[str, str]) -> Cell:
    """Return the cell of runs without a number."""
    known = sorted(reasons, key=lambda status: WORST_FIRST.index(status) if status in WORST_FIRST else 0)
    return Cell(", ".join(known), detail="; ".join(f"{status}: {reasons[status]}" for status in known))


def _cost(summaries: Summaries, label: str, tasks: Sequence[TaskSummary], cost: Cost) -> Cell:
    cells = [cell for task in tasks if (cell := summaries.cells.get((label, task.label)))]
    values = [value for cell in cells if (value := _cost_of(summaries, cell, cost)) is not None]
    if not values:
        return _why_no_cost(cells, cost)
    value = geometric_mean(values) if min(values) > 0 else sum(values) / len(values)
    note = f"{len(values)} of {len(tasks)} tasks" if len(values) < len(tasks) else ""
    if len(tasks) == 1:
        note = _cost_spread(cells[0].costs.get(cost.name), cost)
    return Cell(cost.write(value), note=note, value=value)


def _cost_spread(interval: Interval | None, cost: Cost) -> str:
    if interval is None or interval.high is None or interval.high == interval.value:
        return ""
    return f"± {cost.write(interval.high - interval.value)}"


def _why_no_cost(cells: Sequence[Summary], cost: Cost) -> Cell:
    if not cells:
        return Cell("", detail="not planned")
    if any(cell.n_done for cell in cells):
        return Cell("not comparable" if cost.name == "speed_ratio" else "not measured")
    return reason({status: detail for cell in cells for status, detail in cell.reasons.items()})


def _cost_of(summaries: Summaries, cell: Summary, cost: Cost) -> float | None:
    return summaries.speed_ratio(cell.label, cell.task) if cost.name == "speed_ratio" else cell.cost(cost.name)


def _trivial(tasks: Sequence[TaskSummary], n_costs: int) -> list[AnswerRow]:
    """Return a row for each score that needs no model, the weakest first."""
    rows = []
    for name in dict.fromkeys(name for task in tasks for name in task.trivial):
        cells = []
        for task in tasks:
            value = task.trivial.get(name)
            decimals = decimals_for(list(task.trivial.values()), task.unit == "%")
            cells.append(Cell("") if value is None else Cell(fixed(value, decimals), value=value))
        rows.append(AnswerRow(name, cells + [Cell("")] * n_costs, trivial=True))
    return rows


def _marks(tasks: Sequence[TaskSummary]) -> dict[str, str]:
    """Return a footnote mark for each score that needs no model: †, ‡, §, ¶, then each twice, and so on."""
    names = dict.fromkeys(name for task in tasks for name in task.trivial)
    return {name: MARKS[index % len(MARKS)] * (index // len(MARKS) + 1) for index, name in enumerate(names)}


def _notes(
    rows: Sequence[AnswerRow], summaries: Summaries, tasks: Sequence[TaskSummary], marks: Mapping[str, str]
) -> list[str]:
    cells = [cell for row in rows for cell in row.cells]
    scores = [each.score for each in summaries.cells.values() if each.score is not None]
    bases = {score.basis for score in scores}
    notes = ["↑: higher is better. ↓: lower is better."]
    if "seeds" in bases:
        seeds = sorted({score.n for score in scores if score.basis == "seeds"})
        span = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        notes.append(f"±: half of the 95 % t interval of the mean over {span} seeds.")
    if "examples" in bases:
        notes.append("[low, high]: 95 % Wilson interval over test examples; one seed, so blind to the spread of seeds.")
    if "none" in bases:
        notes.append("A score without an interval comes from one seed.")
    if any(cell.best for cell in cells):
        notes.append("Bold: the best score of a task.")
    if any(cell.tied for cell in cells):
        notes.append("≈: its interval overlaps that of the best, so the two are not distinguishable.")
    if any(cell.flag == "at chance" for cell in cells):
        notes.append("At chance: not better than any score that needs no model.")
    used = {cell.mark for cell in cells}
    notes += [
        f"{mark}: not better than “{name}”, which needs no model." for name, mark in marks.items() if mark in used
    ]
    if len(tasks) > 1:
        notes.append(f"Costs are geometric means over the {len(tasks)} tasks; the cost section has them one by one.")
    return notes
