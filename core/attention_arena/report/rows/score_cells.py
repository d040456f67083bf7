"""The cells of scores: with their interval, how they stand to the baseline and the best, and what needs no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attention_arena.report.derived.against_best import NOT_WORSE
from attention_arena.report.derived.averages import Average
from attention_arena.report.derived.summary import Summaries, Summary, TaskSummary, Verdict
from attention_arena.report.rows.cells import NOT_PLANNED, Cell, Row, reason
from attention_arena.report.wording.numbers import decimals_for, fixed, significant, spread
from attention_arena.statistics import Interval

MARKS = "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ"


def score_cells(summaries: Summaries, task: TaskSummary, marks: Mapping[str, str]) -> dict[str, Cell]:
    """Return every variant's score at the best validation step on a task, by label."""
    cells = summaries.of_task(task)
    decimals = _decimals([cell.score for cell in cells], task)
    best = None if summaries.all_at_chance(task) else summaries.best(task)
    shown = {cell.label: _score(cell, task, best, decimals, marks) for cell in cells}
    return {label: shown.get(label, NOT_PLANNED) for label in summaries.labels}


def last_step_cells(summaries: Summaries, task: TaskSummary) -> dict[str, Cell]:
    """Return every variant's score at the last step on a task, by label."""
    cells = summaries.of_task(task)
    decimals = _decimals([cell.score_last for cell in cells], task)
    shown = {cell.label: _plain(cell.score_last, decimals) or reason(cell.reasons) for cell in cells}
    return {label: shown.get(label, NOT_PLANNED) for label in summaries.labels}


def average_cells(average: Average) -> dict[str, Cell]:
    """Return every variant's average, by label; `n/a` with the reason where there is none."""
    cells = {label: Cell("n/a", note=why, detail=why) for label, why in average.missing.items()}
    for label, score in average.scores.items():
        cells[label] = _plain(score, 1) or cells[label]
    return cells


def trivial_rows(tasks: Sequence[TaskSummary], n_others: int) -> list[Row]:
    """Return a row for each score that needs no model, the weakest first; `n_others` columns follow the tasks'."""
    rows = []
    for name in dict.fromkeys(name for task in tasks for name in task.trivial):
        cells = []
        for task in tasks:
            value = task.trivial.get(name)
            decimals = decimals_for(list(task.trivial.values()), task.unit == "%")
            cells.append(Cell("") if value is None else Cell(fixed(value, decimals), value=value))
        rows.append(Row(name, cells + [Cell("")] * n_others, trivial=True))
    return rows


def trivial_ends(tasks: Sequence[TaskSummary], n_others: int) -> list[Row]:
    """Return each task's weakest and best score that needs no model, named below the number, as two rows.

    One row where no task has two.
    """
    places = {"weakest": 0, "best": -1}
    if not any(len(task.trivial) > 1 for task in tasks):
        places.pop("weakest")
    cells = {label: [_end(task, place) for task in tasks] + [Cell("")] * n_others for label, place in places.items()}
    return [Row(label, found, trivial=True) for label, found in cells.items() if any(cell.text for cell in found)]


def _end(task: TaskSummary, place: int) -> Cell:
    found = list(task.trivial.items())
    if len(found) < (2 if place == 0 else 1):
        return Cell("")
    name, value = found[place]
    decimals = decimals_for(list(task.trivial.values()), task.unit == "%")
    return Cell(fixed(value, decimals), note=name, value=value)


def trivial_marks(summaries: Summaries) -> dict[str, str]:
    """Return a footnote letter for each score that needs no model and that some variant is not shown to beat."""
    names: dict[str, None] = {}
    for task in summaries.tasks:
        for cell in summaries.of_task(task):
            names.update(dict.fromkeys(_marked(cell, task)))
    return {name: MARKS[index % len(MARKS)] * (index // len(MARKS) + 1) for index, name in enumerate(names)}


def _marked(cell: Summary, task: TaskSummary) -> list[str]:
    """Return the weakest score that a variant is not shown to beat; none at chance, which is said in words."""
    if cell.score is None or cell.n_at_chance:
        return []
    return task.unbeaten(cell.score)[:1]


def basis(interval: Interval) -> str:
    """Return what a score's interval rests on, in words."""
    if interval.basis == "seeds and examples":
        return f"95 % interval from {interval.n} seeds and their test examples"
    if interval.basis == "seeds":
        return f"95 % t interval of the mean over {interval.n} seeds, blind to the choice of test examples"
    if interval.basis == "examples":
        return f"one seed; 95 % interval from {interval.n:,} test examples, blind to the spread between seeds"
    return "one seed, no interval"


def told(verdict: Verdict, rival: str) -> str:
    """Return a verdict at length: the difference, its interval, p, and what limits it."""
    if verdict.word is None or verdict.difference is None:
        return f"not compared with {rival}: {verdict.reason}"
    parts = [f"{verdict.word}, against {rival}: {difference(verdict)}", f"adjusted p {p_value(verdict.p_adjusted)}"]
    return "; ".join(parts + ([verdict.reason] if verdict.reason else []))


def difference(verdict: Verdict) -> str:
    """Return the difference with its interval and unit: `+1.20 points [0.30, 2.10]`."""
    if verdict.difference is None or verdict.low is None or verdict.high is None:
        return ""
    if verdict.unit == "×":
        return f"{significant(verdict.difference)}× [{significant(verdict.low)}, {significant(verdict.high)}]"
    decimals = 1 if verdict.unit == "points" else 3
    sign = "+" if round(verdict.difference, decimals) > 0 else ""
    ends = f"[{fixed(verdict.low, decimals)}, {fixed(verdict.high, decimals)}]"
    return f"{sign}{fixed(verdict.difference, decimals)} {verdict.unit or ''} {ends}".replace("  ", " ")


def p_value(p: float | None) -> str:
    """Return p as papers write it: two digits, or a bound."""
    if p is None:
        return ""
    return "< 0.0001" if p < 1e-4 else significant(p, 2)


def _decimals(scores: Sequence[Interval | None], task: TaskSummary) -> int:
    values = [score.value for score in scores if score is not None]
    return decimals_for(values + list(task.trivial.values()), task.unit == "%")


def _plain(score: Interval | None, decimals: int) -> Cell | None:
    if score is None:
        return None
    return Cell(fixed(score.value, decimals), note=spread(score, decimals), value=score.value)


def _score(cell: Summary, task: TaskSummary, best: Summary | None, decimals: int, marks: Mapping[str, str]) -> Cell:
    if cell.score is None:
        return reason(cell.reasons)
    details = [basis(cell.score), *(f"{status}: {detail}" for status, detail in cell.reasons.items())]
    if cell.verdict is not None:
        details.append(told(cell.verdict, "the baseline"))
    if best is not None and cell.against_best is not None:
        details.append(told(cell.against_best, f"the best, {best.label}"))
    leads = best is not None and best.score is not None and best.score.value == cell.score.value
    return Cell(
        fixed(cell.score.value, decimals),
        note=", ".join(part for part in (spread(cell.score, decimals), _coverage(cell)) if part),
        detail="; ".join(details),
        value=cell.score.value,
        best=leads,
        near_best=best is not None and not leads and _may_be_best(cell),
        verdict=(cell.verdict.word or "") if cell.verdict else "",
        flag=_chance(cell),
        mark="".join(marks[name] for name in _marked(cell, task)),
    )


def _may_be_best(cell: Summary) -> bool:
    return cell.against_best is not None and cell.against_best.word == NOT_WORSE


def _chance(cell: Summary) -> str:
    if not cell.n_at_chance:
        return ""
    if cell.n_at_chance == cell.n_scored:
        return "at chance"
    return f"{cell.n_at_chance} of {cell.n_scored} seeds at chance"


def _coverage(cell: Summary) -> str:
    return f"{cell.n_scored} of {cell.n_runs} seeds ({', '.join(cell.reasons)})" if cell.reasons else ""
