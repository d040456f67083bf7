from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from attention_arena.report.tables.frames import load_results, write_tables
from attention_arena.report.tables.markdown import escape
from attention_arena.report.wording.numbers import count, fixed, significant, size, tick


def test_tables_hold_what_was_loaded(mixed: Path) -> None:
    results = load_results(mixed)
    paths = write_tables(mixed)
    assert [path.name for path in paths] == [
        "runs.parquet",
        "measurements.parquet",
        "curves.parquet",
        "comparisons.parquet",
        "comparisons.csv",
        "against_best.parquet",
        "against_best.csv",
        "growth.parquet",
        "growth.csv",
        "break_even.parquet",
        "break_even.csv",
        "results.csv",
        "results.md",
    ]
    assert_frame_equal(pl.read_parquet(mixed / "runs.parquet"), results.runs)
    assert_frame_equal(pl.read_parquet(mixed / "measurements.parquet"), results.measurements)
    assert_frame_equal(pl.read_parquet(mixed / "curves.parquet"), results.curves)
    assert_frame_equal(pl.read_csv(mixed / "results.csv", schema=results.runs.schema), results.runs)


def test_a_hostile_name_comes_back_from_the_csv_as_it_was(mixed: Path, fakes: Any) -> None:
    write_tables(mixed)
    assert fakes.HOSTILE in pl.read_csv(mixed / "results.csv")["label"].to_list()


def test_writing_leaves_nothing_half_written_beside_the_tables(mixed: Path) -> None:
    before = {path.name for path in mixed.iterdir()}
    written = {path.name for path in write_tables(mixed)}
    assert {path.name for path in mixed.iterdir()} == before | written


def test_writing_twice_gives_the_same_bytes(mixed: Path) -> None:
    first = [path.read_bytes() for path in write_tables(mixed)]
    assert [path.read_bytes() for path in write_tables(mixed)] == first


def test_tables_of_several_studies_stand_together(tmp_path: Path, fakes: Any) -> None:
    for name in ("one", "two"):
        fakes.FakeStudy(name=name, variants=[fakes.SOFTMAX], seeds=[0]).write(tmp_path)
    write_tables(tmp_path)
    assert pl.read_csv(tmp_path / "results.csv")["study"].to_list() == ["one", "one", "two", "two"]
    assert re.findall(r"^# (.*)$", (tmp_path / "results.md").read_text(), re.M) == ["one (laptop)", "two (laptop)"]


def test_every_row_of_the_markdown_table_has_as_many_cells_as_its_head(mixed: Path) -> None:
    write_tables(mixed)
    rows = [line for line in (mixed / "results.md").read_text().splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 3 + 4
    # A cell ends at a pipe that no backslash escapes.
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1


def test_markdown_shows_hostile_names_as_text(mixed: Path, fakes: Any) -> None:
    write_tables(mixed)
    text = (mixed / "results.md").read_text()
    assert "<script" not in text
    assert "<img" not in text
    assert escape(fakes.HOSTILE) in text


@pytest.mark.parametrize(
    ("raw", "escaped"),
    [
        ("a|b", r"a\|b"),
        ("<b>&amp;", "&lt;b&gt;&amp;amp;"),
        ("$x$", r"\$x\$"),
        ("back\\slash", r"back\\slash"),
        ("*a* _b_ `c`", r"\*a\* \_b\_ \`c\`"),
        ("transformer_xl (n=4)", "transformer_xl (n=4)"),
        ("# heading", r"\# heading"),
        ("- item", r"\- item"),
        ("1. item", "&#49;. item"),
        ("14.1", "14.1"),
        ("two\nlines", "two lines"),
        ("[a](b)", r"\[a\](b)"),
        ("Σ–é", "Σ–é"),
    ],
)
def test_markdown_escapes_what_it_would_read_as_its_own(raw: str, escaped: str) -> None:
    assert escape(raw) == escaped


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (significant(0.0123456), "0.0123"),
        (significant(123456.0), "123,000"),
        (significant(-1.5), "−1.50"),
        (significant(2.5e-7), "2.50e−07"),
        (count(999), "999"),
        (count(999.7), "1.00 k"),
        (count(12_345), "12.3 k"),
        (count(2.5e9), "2.50 G"),
        (size(1010), "0.986 KiB"),
        (size(1023.9), "1.00 KiB"),
        (size(1536), "1.50 KiB"),
        (size(3 * 2**30), "3.00 GiB"),
        (tick(2000), "2 k"),
        (tick(1500), "1.5 k"),
        (tick(100), "100"),
        (fixed(1234.5678, 2), "1,234.57"),
    ],
)
def test_numbers_are_written_with_few_digits_and_their_unit(shown: str, expected: str) -> None:
    assert shown == expected
