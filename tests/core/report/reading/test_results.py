from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from attention_arena.errors import ConfigError
from attention_arena.report.reading.results import load_results
from attention_arena.runs.record import CurvePoint, MeasurementRow, Record


def test_every_column_is_there_with_its_type_however_little_was_run(tmp_path: Path, fakes: Any) -> None:
    full = load_results(fakes.FakeStudy().write(tmp_path / "full"))
    pending = {(label, "listops", 0): ("pending", None) for label in ("softmax",)}
    bare = fakes.FakeStudy(variants=[fakes.SOFTMAX], tasks=[fakes.LISTOPS], seeds=[0], verdicts=pending)
    empty = tmp_path / "empty"
    empty.mkdir()
    for results in (load_results(bare.write(tmp_path / "bare")), load_results(empty)):
        assert results.runs.schema == full.runs.schema
        assert results.measurements.schema == full.measurements.schema
        assert results.curves.schema == full.curves.schema
    assert full.runs.columns == list(Record.model_fields)
    assert set(MeasurementRow.model_fields) < set(full.measurements.columns)
    assert set(CurvePoint.model_fields) < set(full.curves.columns)
    assert full.runs.schema["seed"] == pl.Int64
    assert full.runs.schema["dirty"] == pl.Boolean


def test_values_come_through_as_they_were_recorded(tmp_path: Path, fakes: Any) -> None:
    folder = fakes.FakeStudy().write(tmp_path)
    results = load_results(folder)
    n_measurements = 0
    for row in results.runs.iter_rows(named=True):
        recorded = json.loads((folder / "runs" / row["run"] / "record.json").read_text())
        assert row == recorded["record"]
        n_measurements += len(recorded["measurements"])
    assert len(results.runs) == 12
    assert len(results.curves) == 12 * 24
    assert len(results.measurements) == n_measurements > 0


@pytest.mark.parametrize("depth", ["results", "study", "profile"])
def test_a_path_may_be_all_results_one_study_or_one_profile(tmp_path: Path, fakes: Any, depth: str) -> None:
    one = fakes.FakeStudy(name="one", variants=[fakes.SOFTMAX]).write(tmp_path)
    fakes.FakeStudy(name="two", variants=[fakes.SOFTMAX]).write(tmp_path)
    results = load_results({"results": tmp_path, "study": one.parent, "profile": one}[depth])
    names = ["one", "two"] if depth == "results" else ["one"]
    assert [study.study for study in results.studies] == names
    assert results.runs["study"].unique(maintain_order=True).to_list() == names
    assert set(results.of(results.studies[-1]).runs["study"]) == {names[-1]}


def test_a_planned_run_without_a_record_is_pending(mixed: Path) -> None:
    runs = load_results(mixed).runs
    [row] = runs.filter(pl.col("status") == "pending").to_dicts()
    assert (row["label"], row["task"], row["seed"], row["detail"]) == ("softmax", "language_model", 1, "not run yet")
    assert row["task_options"] == '{"segment": 512}'
    assert row["value"] is None
    assert len(runs) == 12


def test_runs_come_in_the_plans_order(mixed: Path) -> None:
    planned = [each["run"] for each in json.loads((mixed / "study.json").read_text())["runs"]]
    assert load_results(mixed).runs["run"].to_list() == planned


def test_a_damaged_record_is_left_out_with_a_warning_that_names_it(tmp_path: Path, fakes: Any) -> None:
    folder = fakes.FakeStudy().write(tmp_path)
    record = next(iter(sorted(folder.glob("runs/*/record.json"))))
    record.write_text(record.read_text()[:100])
    with pytest.warns(UserWarning, match=r"record\.json is damaged") as caught:
        results = load_results(folder)
    assert str(record) in str(caught[0].message)
    [row] = results.runs.filter(pl.col("run") == record.parent.name).to_dicts()
    assert (row["status"], row["detail"]) == ("pending", "its record cannot be read")
    assert [str(record) in note.text for note in results.notes] == [True]


def test_a_record_of_another_schema_is_left_out_with_a_warning(tmp_path: Path, fakes: Any) -> None:
    folder = fakes.FakeStudy(changes={"schema_version": 99}, seeds=[0]).write(tmp_path)
    with pytest.warns(UserWarning, match="schema version 99, expected 2"):
        results = load_results(folder)
    assert set(results.runs["status"]) == {"pending"}


def test_a_record_that_is_not_in_the_plan_is_left_out_with_a_warning(tmp_path: Path, fakes: Any) -> None:
    folder = fakes.FakeStudy().write(tmp_path)
    old = fakes.FakeStudy(
        tasks=[fakes.LISTOPS._replace(options={"max_length": 7})], variants=[fakes.SOFTMAX], seeds=[0]
    )
    text = (folder / "study.json").read_text()
    old.write(tmp_path)
    (folder / "study.json").write_text(text)
    with pytest.warns(UserWarning, match="not of the study's present plan"):
        results = load_results(folder)
    assert len(results.runs) == 12
    assert '{"max_length": 7}' not in results.runs["task_options"].to_list()


def test_a_half_written_point_of_a_curve_is_not_a_point(tmp_path: Path, fakes: Any) -> None:
    folder = fakes.FakeStudy(seeds=[0], variants=[fakes.SOFTMAX], tasks=[fakes.LISTOPS]).write(tmp_path)
    [curve] = folder.glob("runs/*/curve.jsonl")
    curve.write_text(curve.read_text() + '{"step": 99, "sec')
    assert len(load_results(folder).curves) == 24


def test_a_repeated_point_of_a_curve_counts_once_with_its_last_value(tmp_path: Path, fakes: Any) -> None:
    folder = fakes.FakeStudy(seeds=[0], variants=[fakes.SOFTMAX], tasks=[fakes.LISTOPS]).write(tmp_path)
    [curve] = folder.glob("runs/*/curve.jsonl")
    again = CurvePoint(step=100, seconds=1, split="train", metric="loss", value=-5)
    curve.write_text(curve.read_text() + again.model_dump_json() + "\n")
    curves = load_results(folder).curves
    assert len(curves) == 24
    assert curves.filter((pl.col("step") == 100) & (pl.col("metric") == "loss"))["value"].to_list() == [-5.0]


def test_a_folder_without_study_json_is_read_from_its_records(tmp_path: Path, fakes: Any) -> None:
    folder = fakes.FakeStudy(seeds=[0]).write(tmp_path)
    (folder / "study.json").unlink()
    with pytest.warns(UserWarning, match=r"study\.json is missing"):
        results = load_results(folder)
    assert (results.studies[0].study, results.studies[0].profile) == ("synthetic", "laptop")
    assert len(results.runs) == 6


def test_the_part_of_a_study_is_made_once_and_a_folder_of_one_study_is_its_own(tmp_path: Path, fakes: Any) -> None:
    folders = [fakes.FakeStudy(name=name, seeds=[0]).write(tmp_path) for name in ("one", "two")]
    both = load_results(tmp_path)
    parts = [both.of(study) for study in both.studies]
    assert [set(part.runs["study"]) for part in parts] == [{"one"}, {"two"}]
    assert all(both.of(study) is part for study, part in zip(both.studies, parts, strict=True))
    alone = load_results(folders[0])
    assert alone.of(alone.studies[0]) is alone


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_results(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file"):
        load_results(tmp_path / "file")


def test_reading_results_imports_neither_torch_nor_what_draws() -> None:
    code = (
        "import sys, attention_arena.report.tables.frames, attention_arena.report.page.report; "
        "import attention_arena.report.figures; "
        "print([name for name in ('torch', 'seaborn', 'matplotlib', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_figures_plugin_loads_without_polars() -> None:
    code = "import sys, attention_arena.report.figures; print('polars' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
