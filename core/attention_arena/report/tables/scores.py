"""The comparisons with the baseline as a table."""

from __future__ import annotations

from attention_arena.report.derived.summary import Summaries, Verdict
from attention_arena.report.rows.cells import Cell, Column, Row, Table
from attention_arena.report.rows.score_cells import difference, p_value


def comparisons(summaries: Summaries) -> Table:
    """Return a row for each variant that was to be compared on a task."""
    rows = [
        Row(cell.label, [Cell(task.heading), *_cells(cell.verdict)])
        for task in summaries.tasks
        for cell in summaries.of_task(task)
        if cell.verdict is not None
    ]
    columns = [
        Column("task", is_number=False),
        Column("verdict", is_number=False),
        Column("difference", "[95 % interval]"),
        Column("p", "adjusted"),
        Column("seeds"),
        Column("limits", is_number=False),
    ]
    caption = f"Comparisons with {summaries.baseline}, example by example"
    return Table(columns, rows, name="comparisons", caption=caption)


def _cells(verdict: Verdict) -> list[Cell]:
    return [
        Cell(verdict.word or "not compared"),
        Cell(difference(verdict), value=verdict.difference),
        Cell(p_value(verdict.p_adjusted), value=verdict.p_adjusted),
        Cell(str(verdict.n_seeds), value=verdict.n_seeds) if verdict.word else Cell(""),
        Cell(verdict.reason or ""),
    ]
