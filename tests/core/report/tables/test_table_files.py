from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from attention_arena.report.derived.comparisons import compare_with_baseline
from attention_arena.report.derived.summary import summarise
from attention_arena.report.page.report import write_report
from attention_arena.report.reading.results import load_results
from attention_arena.report.rows.answer import answer_table
from attention_arena.report.rows.cells import Cell, Column, Row, Table
from attention_arena.report.tables import report_tables, write_table_files
from attention_arena.report.tables.chosen import NAMES, is_ours
from attention_arena.report.tables.write import RENDERERS

README = Path(__file__).parents[4] / "results" / "README.md"


def _tables(folder: Path) -> dict[str, Table]:
    results = load_results(folder)
    return {table.name: table for table in report_tables(results, compare_with_baseline(results))}


def test_a_report_leaves_every_table_in_every_form(mixed: Path) -> None:
    page = write_report(mixed, [])
    written = {path.name for path in (page.parent / "tables").iterdir()}
    names = _tables(mixed)
    assert written == {f"{name}.{ending}" for name in names for ending in RENDERERS}
    expected = {"scores", "last_step", "comparisons", "costs-listops", "exponents-listops", "coverage", "unfinished"}
    assert expected | {"sources", "machines", "departures", "unmeasured"} <= set(names)


def test_the_files_hold_what_the_page_shows(mixed: Path) -> None:
    results = load_results(mixed)
    shown = answer_table(summarise(results, compare_with_baseline(results)))
    folder = write_report(mixed, []).parent
    page, tables = (folder / "index.html").read_text(), folder / "tables"
    frame = pl.read_parquet(tables / "scores.parquet")
    for place, column in enumerate(shown.columns):
        assert frame[f"{column.title}, {column.below}"].to_list() == [row.cells[place].value for row in shown.rows]
    for text in {cell.text for row in shown.rows for cell in row.cells if cell.value is not None}:
        for name in ("scores.md", "scores.csv"):
            assert text in (tables / name).read_text()
    on_page = [*(row for row in shown.rows if not row.trivial), *shown.ends]
    for text in {cell.text for row in on_page for cell in row.cells if cell.value is not None}:
        assert f">{text}<" in page


def test_no_hostile_name_is_markup_in_any_file(mixed: Path) -> None:
    tables = write_report(mixed, []).parent / "tables"
    for path in tables.glob("*.md"):
        assert not re.search(r"<(?!br>)", path.read_text()), path
    for path in tables.glob("*.tex"):
        assert not re.search(r"[<>]|(?<!\\)[%#]", path.read_text().partition("\n")[2]), path


def test_an_older_reports_table_goes_and_a_foreign_file_stays(tmp_path: Path) -> None:
    table = Table([Column("n")], [Row("a", [Cell("1", value=1.0)])], name="scores", caption="c")
    write_table_files([table], tmp_path)
    for name in ("costs-gone.tex", "costs.md", "mine.md", "scores.txt"):
        (tmp_path / name).touch()
    write_table_files([table], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"mine.md", "scores.txt", *(f"scores.{e}" for e in RENDERERS)}


def test_tables_of_tasks_that_differ_in_their_options_have_files_of_their_own(tmp_path: Path, fakes: Any) -> None:
    tasks = [fakes.LISTOPS._replace(options={"max_length": n, "name": name}) for n, name in ((1, "a/b"), (1, "a b"))]
    names = set(_tables(fakes.FakeStudy(tasks=tasks, seeds=[0]).write(tmp_path)))
    assert {"costs-listops-name-a-b", "costs-listops-name-a-b-2"} <= names


def test_writing_twice_gives_the_same_bytes(mixed: Path, tmp_path: Path) -> None:
    tables = list(_tables(mixed).values())
    first = {path.name: path.read_bytes() for path in write_table_files(tables, tmp_path / "once")}
    assert {path.name: path.read_bytes() for path in write_table_files(tables, tmp_path / "twice")} == first


@pytest.mark.parametrize("kind", ["empty", "failed", "one run", "untrained"])
def test_small_studies_have_the_tables_that_are_true_of_them(tmp_path: Path, fakes: Any, kind: str) -> None:
    one = {"variants": [fakes.SOFTMAX], "tasks": [fakes.LISTOPS], "seeds": [0]}
    study = {
        "empty": lambda: fakes.FakeStudy(variants=[], tasks=[], seeds=[]),
        "failed": lambda: fakes.FakeStudy(**one, verdicts={("softmax", "listops", 0): ("failed", "ValueError: x")}),
        "one run": lambda: fakes.FakeStudy(**one),
        "untrained": lambda: fakes.untrained(),
    }[kind]()
    found = _tables(study.write(tmp_path))
    expected = {
        "empty": set(),
        "failed": {"scores", "costs-listops", "coverage", "unfinished", "machines", "sources", "last_step"},
        "one run": {
            "scores",
            "costs-listops",
            "coverage",
            "machines",
            "sources",
            "last_step",
            "exponents-listops",
            "unmeasured",
        },
        "untrained": {
            "costs",
            "coverage",
            "machines",
            "sources",
            "departures",
            "exponents-listops",
            "break_even-listops",
            "unmeasured",
        },
    }[kind]
    assert set(found) == expected
    for table in found.values():
        for render in RENDERERS.values():
            assert render(table)


def test_the_readme_names_every_table_and_no_other() -> None:
    section = README.read_text().partition("## Tables for papers")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (.+) \|$", section, re.MULTILINE))
    assert rows == NAMES


def test_a_name_is_ours_whatever_task_it_is_of() -> None:
    assert is_ours("costs-listops")
    assert is_ours("scores")
    assert not is_ours("mine")
