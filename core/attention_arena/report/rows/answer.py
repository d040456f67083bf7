"""The answer table: variants down, each task's score and the costs across; a cell without a number says why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attention_arena.report.derived.averages import Average, averages
from attention_arena.report.derived.summary import Summaries, TaskSummary
from attention_arena.report.rows.cells import Cell, Column, Row, Table
from attention_arena.report.rows.cost_cells import cost_columns, step_column
from attention_arena.report.rows.score_cells import (
    average_cells,
    last_step_cells,
    score_cells,
    trivial_ends,
    trivial_marks,
    trivial_rows,
)
from attention_arena.report.wording.notes import notes_of

__all__ = ["Cell", "Table", "answer_table", "cost_table", "last_step_table"]


def answer_table(summaries: Summaries) -> Table:
    """Return a study's answer table: all tasks' scores, averages, and costs as geometric means over its tasks.

    A study that trains nothing has costs alone.
    """
    costs = cost_columns(summaries, summaries.tasks)
    columns = [column.heading for column in costs]
    if not summaries.trains:
        rows = _rows(summaries, [{label: column.cell(label) for label in summaries.labels} for column in costs])
        return Table(columns, rows, 0, notes_of(rows, summaries, {}, []))
    marks = trivial_marks(summaries)
    means = averages(summaries)
    by_column: list[Mapping[str, Cell]] = [score_cells(summaries, task, marks) for task in summaries.tasks]
    by_column += [average_cells(mean) for mean in means]
    by_column += [{label: column.cell(label) for label in summaries.labels} for column in costs]
    rows = _rows(summaries, by_column)
    headings = [*_score_headings(summaries.tasks, means), *columns]
    trivial = trivial_rows(summaries.tasks, len(means) + len(costs))
    n_scores = len(summaries.tasks) + len(means)
    ends = trivial_ends(summaries.tasks, len(means) + len(costs))
    return Table(headings, rows + trivial, n_scores, notes_of(rows, summaries, marks, means), ends=ends)


def last_step_table(summaries: Summaries) -> Table:
    """Return the scores at the last step, which no validation chose."""
    rows = _rows(summaries, [last_step_cells(summaries, task) for task in summaries.tasks])
    headings = _score_headings(summaries.tasks, [])
    trivial, ends = trivial_rows(summaries.tasks, 0), trivial_ends(summaries.tasks, 0)
    return Table(headings, rows + trivial, len(headings), ends=ends)


def cost_table(summaries: Summaries, task: TaskSummary) -> Table:
    """Return the costs on one task alone, with the time of a step."""
    costs = cost_columns(summaries, [task], beside_time=[step_column(summaries, task)])
    rows = [
        Row(label, [column.cell(label) for column in costs], baseline=label == summaries.baseline)
        for label in summaries.labels
        if (label, task.label) in summaries.cells
    ]
    return Table([column.heading for column in costs], rows, 0, [])


def _score_headings(tasks: Sequence[TaskSummary], means: Sequence[Average]) -> list[Column]:
    headings = [Column(task.heading, task.measured_briefly, task.label, brief=_unit_alone(task)) for task in tasks]
    return headings + [Column(mean.name, "accuracy (%) ↑", brief="% ↑") for mean in means]


def _unit_alone(task: TaskSummary) -> str:
    """Return what a task's metric is measured in without its name, `% ↑`; nothing where the name has the unit in it."""
    _, bracket, unit = task.measured_briefly.partition("(")
    return unit.replace(")", "") if bracket else ""


def _rows(summaries: Summaries, columns: Sequence[Mapping[str, Cell]]) -> list[Row]:
    return [
        Row(label, [column[label] for column in columns], baseline=label == summaries.baseline)
        for label in summaries.labels
    ]
