from __future__ import annotations

import pytest

from attention_arena.report.rows.cells import Cell, Column, Row, Table
from attention_arena.report.tables.latex_layout import GAP, MOST_LINES, PAGE, parts_of


def wide(n_columns: int, n_rows: int = 3) -> Table:
    cells = [Cell(f"{place}.125", "[0.100, 0.200]", value=float(place)) for place in range(n_columns)]
    columns = [Column(f"task number {place}", "accuracy (%) ↑") for place in range(n_columns)]
    return Table(columns, [Row(f"variant {place}", cells) for place in range(n_rows)], name="wide")


@pytest.mark.parametrize("n_columns", [1, 3, 7, 8, 15, 40])
def test_every_column_stands_in_one_part_in_its_order(n_columns: int) -> None:
    table = wide(n_columns)
    parts = parts_of(table)
    assert [column for part in parts for column in part.table.columns] == list(table.columns)
    for place, row in enumerate(table.rows):
        assert [cell for part in parts for cell in part.table.rows[place].cells] == list(row.cells)
        assert {part.table.rows[place].label for part in parts} == {row.label}


@pytest.mark.parametrize("n_columns", [7, 15, 40])
def test_no_part_is_wider_than_the_page(n_columns: int) -> None:
    for part in parts_of(wide(n_columns)):
        shares = [share for share in part.widths if share is not None]
        assert sum(shares) * PAGE + GAP * len(part.widths) <= PAGE + 1e-9


def test_a_few_narrow_columns_need_no_page_of_their_own() -> None:
    [part] = parts_of(wide(1))
    assert not part.is_wide
    assert part.widths == [None, None]


def test_the_last_two_parts_share_their_columns() -> None:
    counts = [len(part.table.columns) for part in parts_of(wide(9))]
    assert len(counts) == 2
    assert abs(counts[0] - counts[1]) <= 1


def test_rows_that_are_more_than_a_page_follow_in_the_next_part() -> None:
    table = wide(1, n_rows=3 * MOST_LINES)
    parts = parts_of(table)
    assert [row.label for part in parts for row in part.table.rows] == [row.label for row in table.rows]
    assert len(parts) == 4
    assert all(part.n_lines <= MOST_LINES for part in parts)


def test_a_score_that_needs_no_model_is_left_out_where_it_says_nothing() -> None:
    table = wide(20)
    cells = [Cell("1", value=1.0), *[Cell("")] * 19]
    parts = parts_of(Table(table.columns, [*table.rows, Row("majority class", cells, trivial=True)]))
    assert [any(row.trivial for row in part.table.rows) for part in parts] == [True] + [False] * (len(parts) - 1)


@pytest.mark.parametrize(("n_notes", "n_parts"), [(3, 1), (2 * MOST_LINES, 2)], ids=["few", "many"])
def test_notes_stand_below_the_last_part_or_alone_where_they_are_many(n_notes: int, n_parts: int) -> None:
    table = wide(1)
    notes = [f"note {place}" for place in range(n_notes)]
    parts = parts_of(Table(table.columns, table.rows, notes=notes))
    assert len(parts) == n_parts
    assert [list(part.table.notes) for part in parts] == [[]] * (n_parts - 1) + [notes]


def test_a_table_without_a_row_is_one_part() -> None:
    assert len(parts_of(wide(2, n_rows=0))) == 1
