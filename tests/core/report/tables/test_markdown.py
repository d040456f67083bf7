from __future__ import annotations

from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from attention_arena.report.rows.cells import Cell, Column, Row, Table
from attention_arena.report.tables.markdown import markdown


def _cells(text: str) -> list[list[str]]:
    """Return what a reader of rendered Markdown sees in the cells of its table, row by row."""
    rows: list[list[str]] = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "tr_open":
            rows.append([])
        if token.type == "inline" and rows:
            rows[-1].append(_seen(token.children or []))
        if token.type == "table_close":
            return rows
    raise AssertionError("no table")


def _seen(parts: list[Token]) -> str:
    assert {part.type for part in parts} <= {
        "text",
        "text_special",
        "html_inline",
        "strong_open",
        "strong_close",
        "em_open",
        "em_close",
    }
    assert {part.content for part in parts if part.type == "html_inline"} <= {"<br>"}
    return "".join("\n" if part.type == "html_inline" else part.content for part in parts)


def test_a_rendered_table_shows_hostile_names_as_text_in_their_own_cells(fakes: Any) -> None:
    names = [fakes.HOSTILE, "=1+1", "- item", "1. item", "a\\|b", "https://example.org <b@c.de>", "&lt;", "![x](y)"]
    rows = [Row(name, [Cell("1.0", value=1.0), Cell(name)]) for name in names]
    table = Table([Column(fakes.HOSTILE, "%"), Column("text", is_number=False)], rows, caption=fakes.HOSTILE)
    head, *body = _cells(markdown(table))
    assert head == ["variant", f"{fakes.HOSTILE}\n%", "text"]
    assert body == [[name, "1.0", name] for name in names]


def test_numbers_stand_to_the_right_and_text_to_the_left() -> None:
    table = Table([Column("n"), Column("why", is_number=False)], [Row("a", [Cell("1"), Cell("b")])])
    assert "| :-- | --: | :-- |" in markdown(table)


def test_a_row_that_is_no_variant_stands_apart() -> None:
    rows = [Row("a", [Cell("1")], baseline=True), Row("chance", [Cell("1")], trivial=True)]
    lines = markdown(Table([Column("n")], rows, caption="c", notes=["a note"])).splitlines()
    assert lines[-4:] == ["| a (baseline) | 1 |", "| *chance* | 1 |", "", "- a note"]


def test_the_best_is_bold_and_what_is_not_shown_worse_italic() -> None:
    cells = [
        Cell("2.5", "± 1", value=2.5, best=True, mark="ᵃ"),
        Cell("1.5", "± 1", value=1.5, near_best=True, mark="ᵃ"),
    ]
    text = markdown(Table([Column("score")], [Row("a", [cell]) for cell in cells]))
    assert "| a | **2.5**ᵃ ± 1 |" in text
    assert "| a | *1.5*ᵃ ± 1 |" in text
    assert [row[1] for row in _cells(text)[1:]] == ["2.5ᵃ ± 1", "1.5ᵃ ± 1"]
