from __future__ import annotations

import io
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from attention_arena.report.rows.cells import Cell, Column, Row, Table
from attention_arena.report.tables.sheet import csv, frame


def _table(*labels: str) -> Table:
    rows = [Row(label, [Cell("1.5", "± 0.1", value=1.5, flag="at chance"), Cell(label)]) for label in labels]
    return Table([Column("score", "%"), Column("why", is_number=False)], rows)


def test_a_number_keeps_its_digits_and_stands_beside_its_text() -> None:
    cells = [Cell("0.33", value=1 / 3), Cell("oom", detail="out of memory")]
    table = Table([Column("score", "%")], [Row(f"v{place}", [cell]) for place, cell in enumerate(cells)])
    found = frame(table)
    assert found.schema == {"variant": pl.String, "score, %": pl.Float64, "score, %, as shown": pl.String}
    assert found.rows() == [("v0", 1 / 3, "0.33"), ("v1", None, "oom")]


def test_marks_of_the_best_have_a_column_of_their_own_where_there_are_any() -> None:
    scores = [Cell("2", value=2.0, best=True), Cell("1", value=1.0, near_best=True), Cell("0", value=0.0)]
    rows = [Row(cell.text, [cell, Cell("3", value=3.0)]) for cell in scores]
    found = frame(Table([Column("score", "%"), Column("cost")], rows))
    assert found["score, %, against the best"].to_list() == ["best", "not shown worse", ""]
    assert "cost, against the best" not in found.columns


def test_what_a_row_is_has_a_column_where_rows_differ() -> None:
    rows = [
        Row("a", [Cell("")], baseline=True),
        Row("b", [Cell("")]),
        Row("c", [Cell("")], trivial=True),
    ]
    assert frame(Table([Column("n")], rows))["kind"].to_list() == ["baseline", "", "no model"]
    assert "kind" not in frame(_table("a")).columns


def test_two_columns_of_one_name_stay_two() -> None:
    table = Table([Column("why", is_number=False)] * 2, [Row("a", [Cell("x"), Cell("y")])])
    assert frame(table).to_dicts() == [{"variant": "a", "why": "x", "why (2)": "y"}]


def test_a_hostile_name_comes_back_from_the_csv_as_it_was(fakes: Any) -> None:
    table = _table(fakes.HOSTILE, 'a,"b"', "two words")
    assert_frame_equal(pl.read_csv(io.StringIO(csv(table))), frame(table))


@pytest.mark.parametrize(
    "begins", ["=", "+", "-", "@", "\t", "\r"], ids=["equals", "plus", "minus", "at", "tab", "return"]
)
def test_no_text_of_the_csv_is_a_formula_and_the_parquet_has_it_as_it_was(begins: str) -> None:
    label = f"{begins}HYPERLINK(1)"
    found = pl.read_csv(io.StringIO(csv(_table(label))), quote_char='"')
    assert found["variant"][0] == found["why"][0] == f"'{label}"
    assert frame(_table(label))["variant"].to_list() == [label]


def test_a_negative_number_stays_a_number() -> None:
    table = Table([Column("n")], [Row("a", [Cell("−1", value=-1.0)])])
    assert csv(table).splitlines()[1] == "a,-1.0,−1"


def test_a_heading_of_the_csv_is_no_formula() -> None:
    table = Table([Column("=1+1", is_number=False)], [Row("a", [Cell("x")])])
    assert csv(table).splitlines()[0] == "variant,'=1+1"
