"""The page on results names every column of every frame, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from attention_arena.report.derived import against_best, break_even, comparisons, growth
from attention_arena.report.reading.results import CURVE_COLUMNS, MEASUREMENT_COLUMNS, RUN_COLUMNS, RUN_KEYS

PAGE = (Path(__file__).parents[4] / "results" / "README.md").read_text()
COST_KEYS = ("study", "profile", "task", "label", "measure", "phase")
SECTIONS = {
    "measurements": ("measurements and curves", RUN_KEYS, MEASUREMENT_COLUMNS),
    "curves": ("measurements and curves", RUN_KEYS, CURVE_COLUMNS),
    "growth": ("growth and break-even", COST_KEYS, growth.COLUMNS),
    "break_even": ("growth and break-even", COST_KEYS, break_even.COLUMNS),
}


def _section(title: str) -> str:
    return PAGE.partition(f"## Columns of {title}\n")[2].partition("\n## ")[0]


def _rows(section: str) -> dict[str, list[str]]:
    return {name: found.split(", ") for name, found in re.findall(r"^\| (\w+) \| (.*) \|$", section, re.MULTILINE)}


def test_every_column_of_the_runs_is_named_in_a_group() -> None:
    groups = _rows(_section("runs"))
    del groups["group"]
    assert sorted(name for group in groups.values() for name in group) == sorted(RUN_COLUMNS)


@pytest.mark.parametrize("table", list(SECTIONS))
def test_every_column_of_a_table_is_named(table: str) -> None:
    title, keys, columns = SECTIONS[table]
    section = _section(title)
    assert f"Both begin with {', '.join(keys)}" in section
    assert [*keys, *_rows(section)[table]] == list(columns)


def test_every_column_of_the_comparisons_is_named() -> None:
    told = re.search(
        r"\*\*`comparisons`\*\* has a row for each variant on each task: ([\w, ]+)\.", " ".join(PAGE.split())
    )
    assert told is not None
    assert _listed(told[1]) == list(comparisons.COLUMNS) == list(comparisons.MEANINGS)


def test_the_columns_of_against_best_are_those_of_the_comparisons_with_the_best_in_the_baselines_place() -> None:
    assert "**`against_best`** has the same columns, with `best` in place of baseline" in " ".join(PAGE.split())
    assert list(against_best.COLUMNS) == ["best" if name == "baseline" else name for name in comparisons.COLUMNS]
    assert set(against_best.MEANINGS) == set(against_best.COLUMNS)


def _listed(names: str) -> Iterable[str]:
    return names.split(", ")
