from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attention_arena.report.answer import AnswerTable, Cell, answer_table, cost_table
from attention_arena.report.results import load_results
from attention_arena.report.summary import Summaries, summarise
from attention_arena.report.words import answer_in_words


def _summaries(study: Any, tmp_path: Path) -> Summaries:
    return summarise(load_results(study.write(tmp_path)))


def _cell(table: AnswerTable, label: str, title: str) -> Cell:
    [row] = [row for row in table.rows if row.label == label]
    [index] = [index for index, column in enumerate(table.columns) if column.title == title]
    return row.cells[index]


def test_the_baseline_comes_first_and_scores_without_a_model_last(mixed: Path, fakes: Any) -> None:
    table = answer_table(summarise(load_results(mixed)))
    assert [row.label for row in table.rows] == [
        "softmax",
        fakes.TRANSFORMER_XL.label,
        fakes.HOSTILE,
        "majority class",
        "first operator",
        "first operator and its digits",
        "byte frequencies",
    ]
    assert [row.trivial for row in table.rows] == [False] * 3 + [True] * 4
    assert table.rows[0].baseline


def test_headings_tell_the_unit_the_direction_and_whose_data_it_is(mixed: Path) -> None:
    table = answer_table(summarise(load_results(mixed)))
    assert [(column.title, column.below) for column in table.columns[:2]] == [
        ("listops (generated)", "accuracy (%) ↑"),
        ("language_model (stand-in)", "bits per byte ↓"),
    ]
    assert table.n_scores == 2


def test_official_data_are_not_marked(tmp_path: Path, fakes: Any) -> None:
    study = fakes.FakeStudy(tasks=[fakes.LISTOPS._replace(source="official")], seeds=[0])
    assert answer_table(_summaries(study, tmp_path)).columns[0].title == "listops"


def test_a_score_is_the_mean_over_seeds_with_half_its_interval(tmp_path: Path, fakes: Any) -> None:
    folder = fakes.FakeStudy(variants=[fakes.SOFTMAX], tasks=[fakes.LISTOPS]).write(tmp_path)
    results = load_results(folder)
    low, high = sorted(results.runs["value"].to_list())
    # With two seeds the half interval is t (12.706) times half their distance.
    cell = _cell(answer_table(summarise(results)), "softmax", "listops (generated)")
    assert cell.text == f"{(low + high) / 2:.1f}"
    assert cell.note == f"± {12.7062 * (high - low) / 2:.1f}"
    assert "2 seeds" in cell.detail


def test_one_seed_gets_the_wilson_interval_and_says_so(tmp_path: Path, fakes: Any) -> None:
    study = fakes.FakeStudy(tasks=[fakes.LISTOPS], seeds=[0], changes={"value": 80.0, "examples": 10})
    table = answer_table(_summaries(study, tmp_path))
    cell = _cell(table, "softmax", "listops (generated)")
    assert (cell.text, cell.note) == ("80.0", "[49.0, 94.3]")
    assert "Wilson interval from 10 test examples" in cell.detail
    assert any("one seed" in note for note in table.notes)


@pytest.mark.parametrize(("task", "best"), [("listops", "transformer_xl"), ("language_model", "transformer_xl")])
def test_the_best_score_is_marked_whichever_way_is_better(tmp_path: Path, fakes: Any, task: str, best: str) -> None:
    tasks = [each for each in (fakes.LISTOPS, fakes.LANGUAGE_MODEL) if each.name == task]
    table = answer_table(_summaries(fakes.FakeStudy(tasks=tasks, seeds=range(5)), tmp_path))
    assert [row.label.split()[0] for row in table.rows if row.cells[0].best] == [best]
    assert not any(row.cells[0].tied for row in table.rows)


def test_a_score_whose_interval_overlaps_the_best_is_marked(tmp_path: Path, fakes: Any) -> None:
    near = fakes.SOFTMAX._replace(name="near", label="near", skill=fakes.SOFTMAX.skill + 0.0005)
    far = fakes.SOFTMAX._replace(name="far", label="far", skill=0.3)
    study = fakes.FakeStudy(variants=[fakes.SOFTMAX, near, far], tasks=[fakes.LISTOPS], seeds=[0, 1, 2])
    rows = {row.label: row.cells[0] for row in answer_table(_summaries(study, tmp_path)).rows}
    assert {rows["softmax"].best, rows["near"].best} == {True, False}
    assert rows["softmax"].tied != rows["softmax"].best
    assert rows["near"].tied != rows["near"].best
    assert not rows["far"].tied


@pytest.mark.parametrize(
    ("value", "flag"),
    [
        (16.0, "at chance"),
        (17.0, "at chance"),
        (17.1, "‡: not better than “first operator”, which needs no model."),
        (40.0, "§: not better than “first operator and its digits”, which needs no model."),
        (48.7, ""),
    ],
)
def test_a_score_is_held_against_those_that_need_no_model(tmp_path: Path, fakes: Any, value: float, flag: str) -> None:
    study = fakes.FakeStudy(variants=[fakes.SOFTMAX], tasks=[fakes.LISTOPS], seeds=[0], changes={"value": value})
    table = answer_table(_summaries(study, tmp_path))
    cell = _cell(table, "softmax", "listops (generated)")
    assert cell.flag == (flag if flag == "at chance" else "")
    assert [note for note in table.notes if "which needs no model" in note] == ([flag] if cell.mark else [])
    assert cell.mark == ("" if flag in ("", "at chance") else flag[0])


def test_a_perplexity_above_the_trivial_one_is_at_chance(tmp_path: Path, fakes: Any) -> None:
    study = fakes.FakeStudy(variants=[fakes.SOFTMAX], tasks=[fakes.LANGUAGE_MODEL], seeds=[0], changes={"value": 4.7})
    assert _cell(answer_table(_summaries(study, tmp_path)), "softmax", "language_model (stand-in)").flag == "at chance"


def test_a_cell_without_a_number_says_why(mixed: Path, fakes: Any) -> None:
    cell = _cell(answer_table(summarise(load_results(mixed))), fakes.HOSTILE, "language_model (stand-in)")
    assert cell.value is None
    assert cell.text == "oom, unsupported"
    assert "killed by the system (signal 9)" in cell.detail


@pytest.mark.parametrize("status", ["failed", "oom", "timeout", "diverged", "unsupported", "pending"])
def test_every_verdict_is_a_word_in_every_cell_of_its_row(tmp_path: Path, fakes: Any, status: str) -> None:
    study = fakes.FakeStudy(
        variants=[fakes.SOFTMAX, fakes.REFORMER],
        tasks=[fakes.LISTOPS],
        seeds=[0],
        verdicts={(fakes.REFORMER.label, "listops", 0): (status, "because")},
    )
    [row] = [row for row in answer_table(_summaries(study, tmp_path)).rows if row.label == fakes.REFORMER.label]
    assert {cell.text for cell in row.cells} == {status}


def test_a_failed_seed_is_told_beside_the_score_of_the_others(mixed: Path, fakes: Any) -> None:
    cell = _cell(answer_table(summarise(load_results(mixed))), fakes.TRANSFORMER_XL.label, "listops (generated)")
    assert cell.note.endswith("1 of 2 seeds (failed)")
    assert "onerror" in cell.detail


def test_a_done_run_without_a_score_or_costs_says_so(tmp_path: Path, fakes: Any) -> None:
    nothing = ("metric", "unit", "value", "higher_is_better", "trivial_baseline", "trivial_baseline_name", "examples")
    costs = ("tokens_per_second", "step_ms", "peak_memory_bytes", "parameters", "flops_per_token")
    task = fakes.LISTOPS._replace(trivial={})
    study = fakes.FakeStudy(tasks=[task], changes=dict.fromkeys((*nothing, *costs, "saved_for_backward_bytes")))
    table = answer_table(_summaries(study, tmp_path))
    assert [cell.text for cell in table.rows[0].cells] == [
        "no score",
        "not measured",
        "not comparable",
        "not measured",
        "not measured",
        "not measured",
        "not measured",
    ]


def test_speed_is_compared_on_each_task_and_meant_geometrically(tmp_path: Path, fakes: Any) -> None:
    summaries = _summaries(fakes.FakeStudy(seeds=[0]), tmp_path)
    expected = fakes.REFORMER.speed / fakes.SOFTMAX.speed
    assert summaries.speed_ratio(fakes.REFORMER.label) == pytest.approx(expected)
    assert summaries.speed_ratio("softmax") == pytest.approx(1.0)
    assert _cell(answer_table(summaries), fakes.REFORMER.label, "speed ratio").text == "0.550×"
    # 22,000 and 1.4 times 22,000 tokens a second.
    assert _cell(answer_table(summaries), fakes.REFORMER.label, "training speed").text == "26.0 k"


def test_a_variant_timed_elsewhere_is_not_compared_in_speed(tmp_path: Path, fakes: Any) -> None:
    folder = fakes.FakeStudy(seeds=[0], tasks=[fakes.LISTOPS]).write(tmp_path)
    [record] = folder.glob("runs/listops.reformer.*/record.json")
    record.write_text(record.read_text().replace("AMD EPYC 7763", "Apple M3"))
    summaries = summarise(load_results(folder))
    assert summaries.speed_ratio(fakes.REFORMER.label) is None
    assert _cell(answer_table(summaries), fakes.REFORMER.label, "speed ratio").text == "not comparable"
    assert summaries.speed_ratio(fakes.TRANSFORMER_XL.label) == pytest.approx(31 / 40)


def test_without_a_baseline_there_is_no_ratio(tmp_path: Path, fakes: Any) -> None:
    table = answer_table(_summaries(fakes.FakeStudy(variants=[fakes.REFORMER]), tmp_path))
    assert "speed ratio" not in [column.title for column in table.columns]


def test_a_task_that_was_planned_twice_is_told_apart_by_its_options(tmp_path: Path, fakes: Any) -> None:
    tasks = [fakes.LISTOPS, fakes.LISTOPS._replace(options={"max_length": 500}, source="official")]
    table = answer_table(_summaries(fakes.FakeStudy(tasks=tasks), tmp_path))
    titles = [column.title for column in table.columns[:2]]
    assert titles == ["listops (max_length=2000) (generated)", "listops (max_length=500)"]


def test_a_cost_table_has_the_costs_of_its_task_alone(tmp_path: Path, fakes: Any) -> None:
    summaries = _summaries(fakes.FakeStudy(seeds=[0]), tmp_path)
    table = cost_table(summaries, summaries.tasks[0])
    assert [column.title for column in table.columns][:3] == ["training speed", "speed ratio", "training step"]
    assert [row.cells[0].text for row in table.rows] == ["40.0 k", "31.0 k", "22.0 k"]


def test_the_words_name_the_best_its_score_and_its_speed(tmp_path: Path, fakes: Any) -> None:
    words = answer_in_words(_summaries(fakes.FakeStudy(seeds=range(5)), tmp_path))
    label = fakes.TRANSFORMER_XL.label
    assert words.startswith(f"On listops (generated), {label} scores best: accuracy 4")
    assert "at 0.775× the training throughput of softmax" in words
    assert f"On language_model (stand-in), {label} scores best: bits per byte 2.1" in words
    assert "distinguishable" not in words
    assert "runs have a score" not in words


def test_the_words_name_what_cannot_be_told_from_the_best(tmp_path: Path, fakes: Any) -> None:
    near = fakes.SOFTMAX._replace(name="near", label="near", skill=0.6501)
    study = fakes.FakeStudy(variants=[fakes.SOFTMAX._replace(skill=0.65), near], tasks=[fakes.LISTOPS])
    assert "not distinguishable from" in answer_in_words(_summaries(study, tmp_path))


def test_the_words_say_when_the_best_is_no_better_than_no_model(tmp_path: Path, fakes: Any) -> None:
    study = fakes.FakeStudy(tasks=[fakes.LISTOPS], seeds=[0], changes={"value": 15.0})
    assert "— not better than “majority class”, which needs no model" in answer_in_words(_summaries(study, tmp_path))


def test_the_words_count_what_is_missing(mixed: Path) -> None:
    words = answer_in_words(summarise(load_results(mixed)))
    assert "8 of 12 runs have a score (the others: failed, oom, pending, unsupported)." in words


def test_many_tasks_still_make_at_most_three_sentences(tmp_path: Path, fakes: Any) -> None:
    tasks = [fakes.LISTOPS._replace(name=f"task{index}") for index in range(5)]
    study = fakes.FakeStudy(tasks=tasks, seeds=[0], verdicts={("softmax", "task0", 0): ("pending", None)})
    words = answer_in_words(_summaries(study, tmp_path))
    assert words.replace("0.", "0,").count(". ") <= 2
    assert (
        "scores best on task0 (generated), task1 (generated), task2 (generated), task3 (generated) and task4" in words
    )
    assert "no better than a score that needs no model" not in words
    assert f"from 0.550× ({fakes.REFORMER.label}) to 0.775× ({fakes.TRANSFORMER_XL.label})" in words


def test_the_words_claim_nothing_where_nothing_was_done(tmp_path: Path, fakes: Any) -> None:
    pending = {("softmax", "listops", seed): ("pending", None) for seed in (0, 1)}
    study = fakes.FakeStudy(variants=[fakes.SOFTMAX], tasks=[fakes.LISTOPS], verdicts=pending)
    assert answer_in_words(_summaries(study, tmp_path)) == "None of the 2 runs has a score (the others: pending)."
    empty = fakes.FakeStudy(name="empty", variants=[])
    assert answer_in_words(_summaries(empty, tmp_path)) == "The study has no runs."


@pytest.mark.parametrize(("value", "chance", "unbeaten"), [(8.5, True, "uniform"), (6.0, False, "byte frequencies")])
def test_where_lower_is_better_the_greatest_score_without_a_model_is_the_weakest(
    tmp_path: Path, fakes: Any, value: float, chance: bool, unbeaten: str
) -> None:
    task = fakes.LANGUAGE_MODEL._replace(trivial={"byte frequencies": 4.61, "uniform": 8.0})
    study = fakes.FakeStudy(variants=[fakes.SOFTMAX], tasks=[task], seeds=[0], changes={"value": value})
    [summary] = _summaries(study, tmp_path).tasks
    assert summary.at_chance(value) is chance
    assert summary.unbeaten(value)[0] == unbeaten


def test_a_cost_over_some_of_the_tasks_says_over_how_many(mixed: Path, fakes: Any) -> None:
    table = answer_table(summarise(load_results(mixed)))
    assert _cell(table, fakes.HOSTILE, "training speed").note == "1 of 2 tasks"
    assert _cell(table, fakes.HOSTILE, "speed ratio").note == "1 of 2 tasks"
    assert _cell(table, "softmax", "training speed").note == ""


def test_the_words_say_where_the_lead_of_many_tasks_is_in_doubt(tmp_path: Path, fakes: Any) -> None:
    near = fakes.SOFTMAX._replace(name="near", label="near", skill=fakes.SOFTMAX.skill + 0.001)
    tasks = [fakes.LISTOPS._replace(name=f"task{index}") for index in range(3)]
    words = answer_in_words(_summaries(fakes.FakeStudy(variants=[fakes.SOFTMAX, near], tasks=tasks), tmp_path))
    assert "not distinguishably from the next" in words
    assert "no better than a score that needs no model" in words
