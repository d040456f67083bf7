from __future__ import annotations

import base64
import hashlib
import html
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from attention_arena.errors import ConfigError
from attention_arena.report.compare import compare_sides, comparison_text, read_sides, write_comparison
from attention_arena.report.compare.page import SCRIPTS
from attention_arena.report.compare.terminal import MOST_CHANGES
from attention_arena.report.page.environment import TEMPLATES
from tests.core.report.page.test_page import Reader


@pytest.fixture
def folders(tmp_path: Path, fakes: Any) -> list[Path]:
    """Three studies: the second has a worse variant and a hostile name, the third a better one."""
    paths = []
    for side, skill in (("a", 0.5), ("b", 0.3), ("c", 0.7)):
        changed = fakes.REFORMER._replace(skill=skill)
        hostile = fakes.TRANSFORMER_XL._replace(label=fakes.HOSTILE)
        study = fakes.FakeStudy(variants=[fakes.SOFTMAX, changed, hostile], examples=600, seeds=[0, 1, 2])
        paths.append(study.write(tmp_path / side))
    return paths


def _text(folders: list[Path], **options: Any) -> str:
    sides = read_sides(folders)
    return comparison_text(sides, compare_sides(sides), **options)


def _rows(text: str) -> list[list[str]]:
    """The cells of the lines of the first table of changes, which are two spaces apart."""
    lines = text.splitlines()
    head = next(index for index, line in enumerate(lines) if line.strip().startswith("verdict  "))
    return [re.split(r" {2,}", line.strip()) for line in lines[head : lines.index("", head)]]


def test_the_text_begins_with_the_counts_and_lists_the_worst_first_aligned(folders: list[Path]) -> None:
    text = _text(folders[:2])
    lines = text.splitlines()
    assert any(line.startswith(f"A  {folders[0]}") for line in lines)
    assert any("AMD EPYC 7763 (cpu), 2 threads, fp32, torch 2.13.0+cpu" in line for line in lines)
    counts = next(line for line in lines if line.strip().startswith("scores "))
    assert counts.split() == ["scores", "2", "4"]
    assert lines.index(counts) < lines.index("scores:")
    rows = _rows(text)
    assert rows[0][:4] == ["verdict", "task", "variant", "what"]
    assert [row[:2] for row in rows[1:3]] == [
        ["got worse", "listops (generated)"],
        ["got worse", "language_model (stand-in)"],
    ]
    assert lines[-1].startswith("B against A: 2 got worse, ")


def test_what_did_not_change_is_counted_and_listed_only_when_asked(folders: list[Path]) -> None:
    brief, whole = _text(folders[:2]), _text(folders[:2], everything=True)
    assert "× no difference shown: one run a side, and no interval" in brief
    assert "step time, inference at 512 tokens" not in brief
    assert "step time, inference at 512 tokens" in whole


def test_of_many_changes_the_largest_are_listed_unless_all_are_asked_for(tmp_path: Path, fakes: Any) -> None:
    paths = []
    for side, exponent in (("a", 1.0), ("b", 2.0)):
        variants = [fakes.SOFTMAX._replace(label=f"v{place}", exponent=exponent) for place in range(10)]
        study = fakes.FakeStudy(variants=variants, tasks=[fakes.LISTOPS], seeds=[0], measure=False)
        paths.append(study.write(tmp_path / side))
    brief, whole = _text(paths), _text(paths, everything=True)
    assert len(re.findall("^   got worse ", brief, re.MULTILINE)) == MOST_CHANGES
    assert f"and {20 - MOST_CHANGES} more got worse; --all lists them" in brief
    assert len(re.findall("^   got worse ", whole, re.MULTILINE)) == 20


def test_alike_limits_stand_once_below_the_table(tmp_path: Path, fakes: Any) -> None:
    paths = []
    for side, skill in (("a", 0.3), ("b", 0.7)):
        variants = [fakes.SOFTMAX._replace(label=label, skill=skill) for label in ("one", "two")]
        study = fakes.FakeStudy(variants=variants, tasks=[fakes.LISTOPS], examples=600, seeds=[0])
        paths.append(study.write(tmp_path / side))
    text = _text(paths)
    assert [row[-1] for row in _rows(text)[1:3]] == ["(1)", "(1)"]
    assert text.count("one seed says nothing of how another would have trained") == 1


def test_all_are_compared_with_the_first(folders: list[Path]) -> None:
    summaries = [line for line in _text(folders).splitlines() if " against A: " in line]
    assert [line.partition(":")[0] for line in summaries] == ["B against A", "C against A"]
    assert "2 got worse" in summaries[0]
    assert "2 improved" in summaries[1]


def test_the_page_has_all_of_it_and_fetches_nothing(folders: list[Path], tmp_path: Path, fakes: Any) -> None:
    sides = read_sides(folders)
    compared = compare_sides(sides)
    page = write_comparison(sides, compared, tmp_path / "compare")
    text = page.read_text(encoding="utf-8")
    reader = Reader(text)
    assert reader.unbalanced == []
    assert fakes.HOSTILE in reader.text
    assert "http:" not in text
    assert "https:" not in text
    assert {"img", "link"}.isdisjoint(reader.tags)
    assert not [key for tag, key, _ in reader.attributes if tag == "script"]
    for against in compared:
        assert against.summary in reader.text
    links = [value for tag, key, value in reader.attributes if tag == "a" and key == "href"]
    assert links
    places = {f"#{value}" for _, key, value in reader.attributes if key == "id"}
    assert all(link in places or (page.parent / link).is_file() for link in links)
    frame = pl.read_csv(page.parent / "compare.csv")
    assert len(frame) == sum(len(against.findings) for against in compared)
    assert set(frame["other"]) == {str(folder) for folder in folders[1:]}


def test_the_page_runs_the_script_of_the_report_that_its_policy_names_and_no_other(
    folders: list[Path], tmp_path: Path
) -> None:
    sides = read_sides(folders[:2])
    text = write_comparison(sides, compare_sides(sides), tmp_path / "compare").read_text(encoding="utf-8")
    [script] = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"sha256-{digest}" in html.unescape(text.partition('http-equiv="Content-Security-Policy"')[2])
    for part in SCRIPTS:
        assert (TEMPLATES / "scripts" / f"{part}.js").read_text(encoding="utf-8") in script
    assert (TEMPLATES / "style.css").read_text(encoding="utf-8") in text


def test_numbers_of_the_page_sort_by_their_values(folders: list[Path], tmp_path: Path) -> None:
    sides = read_sides(folders[:2])
    compared = compare_sides(sides)
    reader = Reader(write_comparison(sides, compared, tmp_path / "compare").read_text(encoding="utf-8"))
    values = {value for tag, key, value in reader.attributes if (tag, key) == ("td", "data-value")}
    for each in compared[0].findings:
        assert each.theirs is None or str(each.theirs) in values


def test_a_name_is_no_formula_of_the_csv(tmp_path: Path, fakes: Any) -> None:
    study = fakes.FakeStudy(variants=[fakes.SOFTMAX._replace(label="=HYPERLINK(1)")], tasks=[fakes.LISTOPS])
    sides = read_sides([study.write(tmp_path)] * 2)
    page = write_comparison(sides, compare_sides(sides), tmp_path / "compare")
    assert set(pl.read_csv(page.parent / "compare.csv")["label"]) == {"'=HYPERLINK(1)"}


def test_a_place_that_cannot_be_written_is_one_clear_error(folders: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    sides = read_sides(folders[:2])
    with pytest.raises(ConfigError, match="cannot write the comparison to"):
        write_comparison(sides, compare_sides(sides), tmp_path / "file" / "compare")


def test_what_was_left_out_of_a_side_is_told_beside_it(folders: list[Path]) -> None:
    record = next(iter(sorted(folders[1].glob("runs/*/record.json"))))
    record.write_text("{")
    assert f"left out: {record} is damaged" in _text(folders[:2])
