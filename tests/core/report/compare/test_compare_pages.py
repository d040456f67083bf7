from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from attention_arena.errors import ConfigError
from attention_arena.report.compare import compare_sides, comparison_text, read_sides, write_comparison
from tests.core.report.page.test_page import Reader


@pytest.fixture
def folders(tmp_path: Path, fakes: Any) -> list[Path]:
    """Three studies: the second has a worse variant and a hostile name, the third a better one."""
    paths = []
    for side, skill in (("a", 0.5), ("b", 0.35), ("c", 0.65)):
        changed = fakes.REFORMER._replace(skill=skill)
        hostile = fakes.TRANSFORMER_XL._replace(label=fakes.HOSTILE)
        study = fakes.FakeStudy(variants=[fakes.SOFTMAX, changed, hostile], examples=600, seeds=[0, 1, 2])
        paths.append(study.write(tmp_path / side))
    return paths


def _text(folders: list[Path], **options: Any) -> str:
    sides = read_sides(folders)
    return comparison_text(sides, [compare_sides(sides[0], other) for other in sides[1:]], **options)


def test_the_text_lists_the_worst_first_aligned_and_ends_with_the_counts(folders: list[Path]) -> None:
    lines = _text(folders[:2]).splitlines()
    head = next(index for index, line in enumerate(lines) if line.startswith("verdict"))
    assert lines[head + 1].startswith("got worse")
    place = lines[head].index("task")
    assert [line[place:].split()[0] for line in lines[head + 1 : head + 3]] == ["listops", "language_model"]
    assert any(line.startswith(f"A  {folders[0]}") for line in lines)
    assert any("AMD EPYC 7763 (cpu), 2 threads, fp32, torch 2.13.0+cpu" in line for line in lines)
    assert lines[-1].startswith("B against A: 2 got worse, ")


def test_what_did_not_change_is_counted_and_listed_only_when_asked(folders: list[Path]) -> None:
    brief, whole = _text(folders[:2]), _text(folders[:2], everything=True)
    assert "× no difference shown: one run a side, and no interval" in brief
    assert "step time, inference at 512 tokens" not in brief
    assert "step time, inference at 512 tokens" in whole


def test_all_are_compared_with_the_first(folders: list[Path]) -> None:
    summaries = [line for line in _text(folders).splitlines() if " against A: " in line]
    assert [line.partition(":")[0] for line in summaries] == ["B against A", "C against A"]
    assert "2 got worse" in summaries[0]
    assert "2 improved" in summaries[1]


def test_the_page_has_all_of_it_and_fetches_nothing(folders: list[Path], tmp_path: Path, fakes: Any) -> None:
    sides = read_sides(folders)
    compared = [compare_sides(sides[0], other) for other in sides[1:]]
    page = write_comparison(sides, compared, tmp_path / "compare")
    text = page.read_text(encoding="utf-8")
    reader = Reader(text)
    assert reader.unbalanced == []
    assert fakes.HOSTILE in reader.text
    assert "http" not in text
    assert {"script", "img", "link"}.isdisjoint(reader.tags)
    for against in compared:
        assert against.summary in reader.text
    links = [value for tag, key, value in reader.attributes if tag == "a" and key == "href"]
    assert links
    assert all((page.parent / link).is_file() for link in links)
    frame = pl.read_csv(page.parent / "compare.csv")
    assert len(frame) == sum(len(against.findings) for against in compared)
    assert set(frame["other"]) == {str(folder) for folder in folders[1:]}


def test_a_place_that_cannot_be_written_is_one_clear_error(folders: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    sides = read_sides(folders[:2])
    with pytest.raises(ConfigError, match="cannot write the comparison to"):
        write_comparison(sides, [compare_sides(*sides)], tmp_path / "file" / "compare")


def test_what_was_left_out_of_a_side_is_told_beside_it(folders: list[Path]) -> None:
    record = next(iter(sorted(folders[1].glob("runs/*/record.json"))))
    record.write_text("{")
    assert f"left out: {record} is damaged" in _text(folders[:2])
