"""How costs grow with length, where they break even, and what fits into memory, as tables."""

from __future__ import annotations

from collections.abc import Iterator

from attention_arena.report.derived.capacities import capacities
from attention_arena.report.reading.results import Results
from attention_arena.report.rows.cells import Cell, Column, Row, Table
from attention_arena.report.rows.growth_tables import GrowthCell, GrowthTable, break_even_tables, exponent_tables
from attention_arena.report.tables.text import text_table


def exponents(results: Results) -> Iterator[Table]:
    """Yield, for each task, the claimed powers of length and the fitted exponent of each cost."""
    for table in exponent_tables(results):
        yield _grown(table, "exponents", f"Exponents of cost over length on {table.task}", n_text=1)


def break_even(results: Results) -> Iterator[Table]:
    """Yield, for each task, the lengths from which on a variant is faster than each rival."""
    for table in break_even_tables(results):
        yield _grown(table, "break_even", f"Break-even lengths on {table.task}", n_text=0)


def capacity(results: Results) -> Table:
    """Return the largest batch and the largest length that fit."""
    keys = ("task", "what", "phase", "length", "value", "unit", "detail")
    headings = dict(zip(keys, ("task", "what", "phase", "length", "fits", "unit", "remark"), strict=True))
    caption = "Largest batch and largest length that fit"
    return text_table("capacity", caption, ("label", "variant"), headings, capacities(results))


def _grown(table: GrowthTable, name: str, caption: str, n_text: int) -> Table:
    """Return a task's table; its first `n_text` columns are text."""
    return Table(
        name=f"{name}-{table.task}",
        caption=caption,
        columns=[Column(title, is_number=place >= n_text) for place, title in enumerate(table.columns)],
        rows=[Row(label, [_cell(each) for each in cells]) for label, cells in table.rows],
    )


def _cell(cell: GrowthCell) -> Cell:
    return Cell(cell.text, note=cell.beside, flag=cell.flag, value=cell.value)
