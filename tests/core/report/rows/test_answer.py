from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from attention_arena.report.derived.comparisons import compare_with_baseline
from attention_arena.report.derived.summary import Summaries, summarise
from attention_arena.report.reading.results import load_results
from attention_arena.report.rows.answer import Cell, Table, answer_table, cost_table, last_step_table
from attention_arena.statistics import Interval, mean_interval, score_interval, wilson_interval


def _summaries(study: Any, tmp_path: Path) -> Summaries:
    results = load_results(study.write(tmp_path))
    return summarise(results, compare_with_baseline(results))


def _cell(table: Table, label: str, title: str) -> Cell:
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


def test_the_weakest_and_the_best_without_a_model_are_named_below_their_numbers(mixed: Path) -> None:
    ends = answer_table(summarise(load_results(mixed))).ends
    assert [(row.label, [(cell.text, cell.note) for cell in row.cells[:2]]) for row in ends] == [
        ("weakest", [("17.0", "majority class"), ("", "")]),
        ("best", [("48.6", "first operator and its digits"), ("4.610", "byte frequencies")]),
    ]


def test_a_narrow_heading_leaves_the_metrics_name_out_where_it_has_a_unit(mixed: Path) -> None:
    columns = answer_table(summarise(load_results(mixed))).columns
    assert [column.brief for column in columns[:2]] == ["% ↑", ""]


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


def test_a_score_is_the_mean_over_seeds_with_the_interval_from_seeds_and_examples(tmp_path: Path, fakes: Any) -> None:
    results = load_results(fakes.FakeStudy(variants=[fakes.SOFTMAX], tasks=[fakes.LISTOPS]).write(tmp_path))
    values = results.runs["value"].to_list()
    expected = score_interval(values, [wilson_interval(value / 100, 2000).times(100) for value in values], 100.0)
    assert expected.high is not None
    cell = _cell(answer_table(summarise(results)), "softmax", "listops (generated)")
    assert cell.text == f"{sum(values) / 2:.1f}"
    assert cell.note == f"± {expected.high - expected.value:.1f}"
    assert "2 seeds and their test examples" in cell.detail


def test_seeds_without_examples_on_record_have_the_t_interval(tmp_path: Path, fakes: Any) -> None:
    folder = fakes.FakeStudy(variants=[fakes.SOFTMAX], tasks=[fakes.LANGUAGE_MODEL]).write(tmp_path)
    results = load_results(folder)
    expected = mean_interval(results.runs["value"].to_list())
    assert expected.high is not None
    cell = _cell(answer_table(summarise(results)), "softmax", "language_model (stand-in)")
    assert cell.note == f"± {expected.high - expected.value:.3f}"
    assert "blind to the choice of test examples" in cell.detail


def test_an_interval_on_record_is_read_from_the_measurements(tmp_path: Path, fakes: Any) -> None:
    folder = fakes.FakeStudy(variants=[fakes.SOFTMAX], tasks=[fakes.LANGUAGE_MODEL], seeds=[0]).write(tmp_path)
    [path] = folder.glob("runs/*/record.json")
    row = {
        "measure": "bits_per_byte",
        "phase": "test, best step",
        "value": 2.0,
        "unit": "bits",
        "low": 1.5,
        "high": 3.0,
    }
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"measurements": [row]}))
    cell = _cell(answer_table(summarise(load_results(folder))), "softmax", "language_model (stand-in)")
    assert cell.note == "[1.500, 3.000]"


def test_one_seed_gets_the_interval_of_its_examples_and_says_so(tmp_path: Path, fakes: Any) -> None:
    study = fakes.FakeStudy(tasks=[fakes.LISTOPS], seeds=[0], changes={"value": 80.0, "examples": 10})
    table = answer_table(_summaries(study, tmp_path))
    cell = _cell(table, "softmax", "listops (generated)")
    assert (cell.text, cell.note) == ("80.0", "[49.0, 94.3]")
    assert "95 % interval from 10 test examples" in cell.detail
    assert any("blind to the spread of seeds" in note for note in table.notes)


def test_seeds_that_are_stuck_at_chance_are_counted_and_not_averaged_away(tmp_path: Path, fakes: Any) -> None:
    folder = fakes.FakeStudy(variants=[fakes.SOFTMAX], tasks=[fakes.LISTOPS], seeds=[0, 1, 2]).write(tmp_path)
    [stuck] = folder.glob("runs/*.s1/record.json")
    record = json.loads(stuck.read_text())
    record["record"]["value"] = 17.5
    stuck.write_text(json.dumps(record))
    cell = _cell(answer_table(summarise(load_results(folder))), "softmax", "listops (generated)")
    assert cell.flag == "1 of 3 seeds at chance"


def test_scores_at_the_last_step_have_a_table_of_their_own(tmp_path: Path, fakes: Any) -> None:
    study = fakes.FakeStudy(tasks=[fakes.LISTOPS], seeds=[0], changes={"value": 44.0, "value_last": 41.0})
    summaries = _summaries(study, tmp_path)
    assert answer_table(summaries).rows[0].cells[0].text == "44.0"
    last = last_step_table(summaries)
    assert [row.cells[0].text for row in last.rows] == ["41.0", "41.0", "41.0", "17.0", "36.3", "48.6"]
    assert last.rows[0].cells[0].note.startswith("±")


@pytest.mark.parametrize(("task", "best"), [("listops", "transformer_xl"), ("language_model", "transformer_xl")])
def test_the_best_score_is_marked_whichever_way_is_better(tmp_path: Path, fakes: Any, task: str, best: str) -> None:
    tasks = [each for each in (fakes.LISTOPS, fakes.LANGUAGE_MODEL) if each.name == task]
    table = answer_table(_summaries(fakes.FakeStudy(tasks=tasks, seeds=range(5)), tmp_path))
    assert [row.label.split()[0] for row in table.rows if row.cells[0].best] == [best]


def test_a_cell_says_how_it_compares_with_the_baseline(tmp_path: Path, fakes: Any) -> None:
    near = fakes.SOFTMAX._replace(name="near", label="near", skill=fakes.SOFTMAX.skill + 0.001)
    far = fakes.SOFTMAX._replace(name="far", label="far", skill=0.2)
    above = fakes.SOFTMAX._replace(name="above", label="above", skill=0.9)
    study = fakes.FakeStudy(
        variants=[fakes.SOFTMAX, near, far, above], tasks=[fakes.LISTOPS], seeds=[0, 1, 2], examples=1000
    )
    table = answer_table(_summaries(study, tmp_path))
    verdicts = {row.label: row.cells[0].verdict for row in table.rows if not row.trivial}
    assert verdicts == {"softmax": "", "near": "no difference shown", "far": "worse", "above": "better"}
    assert "better, against the baseline: +" in _cell(table, "above", "listops (generated)").detail
    assert any("Holm’s correction for 3 comparisons" in note for note in table.notes)


def test_without_predictions_no_verdict_is_given_and_the_reason_is_told(tmp_path: Path, fakes: Any) -> None:
    table = answer_table(_summaries(fakes.FakeStudy(tasks=[fakes.LISTOPS]), tmp_path))
    assert not any(row.cells[0].verdict for row in table.rows)
    assert "predictions.npz is missing" in _cell(table, fakes.REFORMER.label, "listops (generated)").detail
    assert any("No score was compared with softmax’s" in note for note in table.notes)


@pytest.mark.parametrize(
    ("value", "flag"),
    [
        (16.0, "at chance"),
        (17.0, "at chance"),
        (18.0, "at chance"),
        (19.5, "ᵃ: not shown to beat “first operator”, which needs no model."),
        (37.0, "ᵃ: not shown to beat “first operator”, which needs no model."),
        (40.0, "ᵃ: not shown to beat “first operator and its digits”, which needs no model."),
        (48.7, "ᵃ: not shown to beat “first operator and its digits”, which needs no model."),
        (52.0, ""),
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


@pytest.mark.parametrize(("value", "chance", "unbeaten"), [(8.5, True, "uniform"), (6.0, False, "byte frequencies")])
def test_where_lower_is_better_the_greatest_score_without_a_model_is_the_weakest(
    tmp_path: Path, fakes: Any, value: float, chance: bool, unbeaten: str
) -> None:
    task = fakes.LANGUAGE_MODEL._replace(trivial={"byte frequencies": 4.61, "uniform": 8.0})
    study = fakes.FakeStudy(variants=[fakes.SOFTMAX], tasks=[task], seeds=[0], changes={"value": value})
    [summary] = _summaries(study, tmp_path).tasks
    score = Interval(value, value - 0.1, value + 0.1, 2, "seeds")
    assert summary.at_chance(score) is chance
    assert summary.unbeaten(score)[0] == unbeaten


def test_a_cost_over_some_of_the_tasks_says_over_how_many(mixed: Path, fakes: Any) -> None:
    table = answer_table(summarise(load_results(mixed)))
    assert _cell(table, fakes.HOSTILE, "training speed").note == "1 of 2 tasks"
    assert _cell(table, fakes.HOSTILE, "speed ratio").note == "1 of 2 tasks"
    assert _cell(table, "softmax", "training speed").note == ""
