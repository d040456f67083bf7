"""Which scores of a task are marked as its best, and which as not shown to be worse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attention_arena.report.derived.comparisons import compare_with_baseline
from attention_arena.report.derived.summary import summarise
from attention_arena.report.page.report import write_report
from attention_arena.report.reading.results import load_results
from attention_arena.report.rows.answer import Table, answer_table


def _variants(fakes: Any, **skills: float) -> list[Any]:
    return [fakes.SOFTMAX._replace(name=name, label=name, skill=skill) for name, skill in skills.items()]


def _table(tmp_path: Path, study: Any) -> Table:
    results = load_results(study.write(tmp_path))
    return answer_table(summarise(results, compare_with_baseline(results)))


def _marks(table: Table) -> dict[str, str]:
    told = {(True, False): "best", (False, True): "near", (False, False): ""}
    return {row.label: told[row.cells[0].best, row.cells[0].near_best] for row in table.rows if not row.trivial}


def _note(table: Table, begins: str) -> str:
    return next((note for note in table.notes if note.startswith(begins)), "")


def test_the_best_and_those_not_shown_worse_are_marked_and_no_other(tmp_path: Path, fakes: Any) -> None:
    variants = _variants(fakes, softmax=0.6, alike=0.601, behind=0.2)
    study = fakes.FakeStudy(variants=variants, tasks=[fakes.LISTOPS], seeds=[0, 1, 2], examples=1000)
    table = _table(tmp_path, study)
    marks = _marks(table)
    assert sorted([marks["softmax"], marks["alike"]]) == ["best", "near"]
    assert marks["behind"] == ""
    assert "With 95 % confidence the truly best is bold" in _note(table, "Underlined")
    [detail] = [row.cells[0].detail for row in table.rows if row.label == "behind"]
    assert "worse, against the best, " in detail


def test_a_clear_winner_alone_is_marked(tmp_path: Path, fakes: Any) -> None:
    study = fakes.FakeStudy(
        variants=_variants(fakes, softmax=0.3, winner=0.9), tasks=[fakes.LISTOPS], seeds=[0], examples=1000
    )
    table = _table(tmp_path, study)
    assert _marks(table) == {"softmax": "", "winner": "best"}
    assert "the truly best of these trained models" in _note(table, "Underlined")


def test_without_predictions_only_the_best_is_marked_and_the_notes_say_so(tmp_path: Path, fakes: Any) -> None:
    table = _table(tmp_path, fakes.FakeStudy(tasks=[fakes.LISTOPS], seeds=[0]))
    assert sorted(_marks(table).values()) == ["", "", "best"]
    assert "none was compared with its task’s best" in _note(table, "Beside the bold ones")
    assert not _note(table, "Underlined")


def test_what_could_not_be_compared_is_counted(tmp_path: Path, fakes: Any) -> None:
    study = fakes.FakeStudy(tasks=[fakes.LISTOPS], seeds=[0], examples=400)
    [spoilt] = study.write(tmp_path).glob("runs/*.reformer.*/predictions.npz")
    spoilt.unlink()
    results = load_results(tmp_path)
    table = answer_table(summarise(results, compare_with_baseline(results)))
    assert _marks(table)[fakes.REFORMER.label] == ""
    assert _note(table, "Underlined").endswith("1 could not be compared with the bold one.")


def test_all_that_have_the_best_score_are_bold(tmp_path: Path, fakes: Any) -> None:
    study = fakes.FakeStudy(tasks=[fakes.LISTOPS], seeds=[0], changes={"value": 60.0})
    assert set(_marks(_table(tmp_path, study)).values()) == {"best"}


def test_where_all_are_at_chance_none_is_marked(tmp_path: Path, fakes: Any) -> None:
    task = fakes.LISTOPS._replace(trivial={"majority class": 60.0})
    study = fakes.FakeStudy(tasks=[task], seeds=[0], examples=400)
    table = _table(tmp_path, study)
    assert set(_marks(table).values()) == {""}
    assert not any("best" in row.cells[0].detail for row in table.rows)
    assert _note(table, "No score is marked as best") == (
        "No score is marked as best on listops, where all are at chance."
    )
    assert not _note(table, "Bold") + _note(table, "Underlined") + _note(table, "Beside")


@pytest.mark.parametrize("chance", [30.0, 90.0], ids=["above chance", "at chance"])
def test_the_page_underlines_names_and_explains_what_is_not_shown_worse(
    tmp_path: Path, fakes: Any, chance: float
) -> None:
    task = fakes.LISTOPS._replace(trivial={"majority class": chance})
    variants = _variants(fakes, softmax=0.6, alike=0.601, behind=0.2)
    study = fakes.FakeStudy(variants=variants, tasks=[task], seeds=[0], examples=400)
    page = write_report(study.write(tmp_path), []).read_text()
    answer = page[page.index('id="answer"') : page.index('id="comparisons"')]
    n_marked = int(chance < 50)
    assert answer.count('</span><span class="unseen"> not shown worse than the best</span>') == n_marked
    assert answer.count('<span class="near">underlined</span>: not shown worse than it') == n_marked
    assert answer.count('<span class="best">bold</span>: best') == n_marked
    assert "better, worse, ∼ (no difference shown): against the baseline" in answer
