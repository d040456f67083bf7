"""The page's part that says who is better."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from attention_arena.report.derived.comparisons import compare_with_baseline
from attention_arena.report.derived.summary import summarise
from attention_arena.report.figures.tradeoff import TRADEOFF
from attention_arena.report.page.report import write_report
from attention_arena.report.reading.results import load_results
from attention_arena.report.rows.answer import answer_table
from attention_arena.report.tables.markdown import table_lines


def _text(path: Path) -> str:
    shown = re.sub(r"(?s)<(style|script)[ >].*?</\1>", "", path.read_text(encoding="utf-8"))
    return " ".join(re.sub(r"<[^>]*>", " ", shown).split())


@pytest.fixture(scope="module")
def compared(fakes: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page without figures: a variant that is better, one that is worse, one that is neither."""
    near = fakes.SOFTMAX._replace(name="near", label="near")
    variants = [fakes.SOFTMAX, near, fakes.TRANSFORMER_XL._replace(skill=0.9), fakes.REFORMER._replace(skill=0.1)]
    study = fakes.FakeStudy(variants=variants, tasks=[fakes.LISTOPS], seeds=[0, 1, 2], examples=1000)
    return write_report(study.write(tmp_path_factory.mktemp("compared")), [])


def test_every_verdict_is_there_in_words(compared: Path) -> None:
    page = compared.read_text()
    table = page[page.index('id="answer"') : page.index('id="comparisons"')]
    assert table.count('<span class="verdict better">better</span>') == 1
    assert table.count('<span class="verdict worse">worse</span>') == 1
    # The mark is for the eye alone; whoever cannot see it is told the words.
    assert table.count('<span aria-hidden="true">∼</span><span class="unseen">no difference shown</span>') == 1


def test_the_comparisons_stand_below_with_their_table(compared: Path) -> None:
    text = _text(compared)
    assert "Against softmax, example by example" in text
    assert re.search(r"transformer_xl \(memory_length=64\) listops \(generated\) better \+\d+\.\d points \[", text)
    assert (compared.parent.parent / "comparisons.csv").is_file()
    assert "../comparisons.csv" in compared.read_text()


def test_scores_at_the_last_step_follow(compared: Path) -> None:
    assert "Scores at the last step" in _text(compared)


def test_the_markdown_table_marks_what_the_page_marks(compared: Path) -> None:
    results = load_results(compared.parent.parent)
    lines = table_lines(answer_table(summarise(results, compare_with_baseline(results)))).splitlines()
    told = {line.split(" | ")[0].strip("| "): line.split(" | ")[1] for line in lines[2:6]}
    assert told["near"].endswith("∼")
    assert told["transformer_xl (memory_length=64)"].endswith("*better*")
    assert "*worse*" in told["reformer (n_hashes=4)"]


def test_the_first_column_stays_in_sight_while_the_others_scroll(compared: Path) -> None:
    page = compared.read_text()
    assert '<table class="wide pinned">' in page
    assert re.search(r"\.pinned [^{]*th:first-child \{ position: sticky; left: 0;", page)
    assert ".scroll { overflow: auto;" in page


def test_a_damaged_file_of_predictions_is_told_on_the_page(tmp_path: Path, fakes: Any) -> None:
    folder = fakes.FakeStudy(tasks=[fakes.LISTOPS], seeds=[0], examples=100).write(tmp_path)
    [run] = folder.glob("runs/*.reformer.*")
    (run / "predictions.npz").write_bytes(b"<script>")
    text = _text(write_report(folder, []))
    assert "predictions.npz is damaged" in text
    assert "1 could not be compared; the reasons are below." in text


def test_the_page_of_a_study_that_trains_nothing_opens_with_cost(tmp_path: Path, fakes: Any) -> None:
    study = fakes.untrained(time_ratios={fakes.TRANSFORMER_XL.label: 2.0, fakes.REFORMER.label: 8.0})
    folder = study.write(tmp_path)
    text = _text(write_report(folder, [TRADEOFF]))
    for absent in ("has a score", "no score", "Scores", "example by example", "Quality, speed and memory"):
        assert absent not in text
    table = answer_table(summarise(load_results(folder)))
    assert [(column.title, column.below) for column in table.columns[:4]] == [
        (f"{phase} time", f"to the baseline’s at {length} tokens ↓")
        for phase in ("training", "inference")
        for length in ("1,024", "4,096")
    ]
    assert table.n_scores == 0
    cells = {row.label: [cell.text for cell in row.cells[:4]] for row in table.rows}
    assert cells["softmax"] == ["1.00×"] * 4
    assert cells[fakes.REFORMER.label] == ["8.00×", "2.00×", "8.00×", "2.00×"]


def test_a_ratio_measured_at_another_length_names_it(tmp_path: Path, fakes: Any) -> None:
    xl, reformer = fakes.TRANSFORMER_XL.label, fakes.REFORMER.label
    folder = fakes.FakeStudy(tasks=[fakes.LISTOPS], seeds=[0], time_ratios={xl: 2.0, reformer: 8.0}).write(tmp_path)
    results = load_results(folder)
    longest = (pl.col("label") == reformer) & (pl.col("length") == 4096) & (pl.col("measure") == "time_ratio")
    object.__setattr__(results, "measurements", results.measurements.filter(~longest))
    table = answer_table(summarise(results))
    [column] = [index for index, each in enumerate(table.columns) if each.title == "training time"]
    notes = {row.label: row.cells[column].note for row in table.rows}
    assert notes[xl] == "[0.476, 0.525]"
    assert notes[reformer] == "[7.62, 8.40] at 1,024"


def test_a_name_however_long_leaves_the_panel_its_room(tmp_path: Path, fakes: Any) -> None:
    trivial = {"a score of which there is much to tell " * 5: 1e9, "x" * 300: -1e9}
    study = fakes.FakeStudy(variants=[fakes.SOFTMAX], tasks=[fakes.LISTOPS._replace(trivial=trivial)], seeds=[0])
    picture = TRADEOFF.draw(load_results(study.write(tmp_path)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture.canvas.draw()
    assert picture.axes[0].get_position().width > 0.5
