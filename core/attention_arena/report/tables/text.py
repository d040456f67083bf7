"""Tables whose cells are text: from the rows in which the page has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attention_arena.report.rows.cells import Cell, Column, Row, Table


def text_table(
    name: str, caption: str, head: tuple[str, str], columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]]
) -> Table:
    """Return a table; `head` is the key and the heading of the rows' labels, `columns` maps keys to headings.

    A number keeps its value; None is an empty cell.
    """
    found = list(rows)
    numbers = {key for key in columns if found and all(is_number(row[key]) for row in found)}
    return Table(
        name=name,
        caption=caption,
        head=head[1],
        columns=[Column(heading, is_number=key in numbers) for key, heading in columns.items()],
        rows=[Row(str(row[head[0]]), [text_cell(row[key]) for key in columns]) for row in found],
    )


def text_cell(value: Any) -> Cell:
    """Return a cell that shows a value as it is."""
    if value is None:
        return Cell("")
    return Cell(f"{value:,}", value=value) if is_number(value) else Cell(str(value))


def is_number(value: Any) -> bool:
    """Whether a value is a count; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)
