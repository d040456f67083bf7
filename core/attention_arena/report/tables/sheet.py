"""A table for programs and spreadsheets: a number a cell at full precision, and beside it what a reader is shown."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from attention_arena.report.derived.against_best import NOT_WORSE
from attention_arena.report.rows.cells import Cell, Row, Table

SHOWN = ", as shown"
"""What follows the name of a column in that of the text beside it."""
AGAINST_BEST = ", against the best"
"""What follows the name of a column in that of its marks."""
KIND = "kind"
FORMULA = r"^[=+\-@\t\r]"
"""How a cell begins that a spreadsheet would run."""


def frame(table: Table) -> pl.DataFrame:
    """Return a row for each row of the table.

    First the label, under the table's `head`. Where some rows are no variant's own, `kind` says baseline or no model. A
    column of numbers has its title and what stands below it for a name and is Float64, null where there is none; the
    column that follows it has the text: with interval, verdict and flag, or the reason why there is no number. Where a
    score of the column is marked as best, a third has `best` and `not shown worse`. A column of text is one column.
    """
    found = [pl.Series(table.head, [row.label for row in table.rows], pl.String)]
    if any(row.baseline or row.trivial for row in table.rows):
        found.append(pl.Series(KIND, [_kind(row) for row in table.rows], pl.String))
    found += _columns(table)
    names = list(_apart([each.name for each in found]))
    return pl.DataFrame([each.alias(name) for each, name in zip(found, names, strict=True)])


def csv(table: Table) -> str:
    """Return `frame` as CSV for spreadsheets."""
    return spreadsheet_csv(frame(table))


def spreadsheet_csv(found: pl.DataFrame) -> str:
    """Return a frame as CSV; text that a spreadsheet would run as a formula begins with an apostrophe."""
    unsafe = pl.col(pl.String).str.contains(FORMULA)
    safe = found.with_columns(pl.when(unsafe).then("'" + pl.col(pl.String)).otherwise(pl.col(pl.String)).name.keep())
    return safe.rename({name: f"'{name}" for name in found.columns if name[:1] in ("=", "+", "-", "@")}).write_csv()


def _columns(table: Table) -> Iterator[pl.Series]:
    for place, column in enumerate(table.columns):
        cells = [row.cells[place] for row in table.rows]
        name = ", ".join(part for part in (column.title, column.below) if part)
        if column.is_number:
            yield pl.Series(name, [cell.value for cell in cells], pl.Float64, strict=False)
        shown = name + SHOWN if column.is_number else name
        yield pl.Series(shown, [_shown(cell) for cell in cells], pl.String)
        if any(cell.best for cell in cells):
            yield pl.Series(name + AGAINST_BEST, [_against_best(cell) for cell in cells], pl.String)


def _shown(cell: Cell) -> str:
    told = (cell.text + cell.mark, cell.note, cell.verdict, cell.flag)
    return " ".join(part for part in told if part)


def _against_best(cell: Cell) -> str:
    return "best" if cell.best else NOT_WORSE if cell.near_best else ""


def _kind(row: Row) -> str:
    return "baseline" if row.baseline else "no model" if row.trivial else ""


def _apart(names: list[str]) -> Iterator[str]:
    """Yield each name, a repeated one with its count: `a`, `a (2)`."""
    seen: dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        yield name if seen[name] == 1 else f"{name} ({seen[name]})"
