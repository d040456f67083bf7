"""A study of equal budgets, from its file to its tables."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import attention_arena
from attention_arena.report.page.contents import departures

STUDY = """
name: budgets
match: parameters
model: {d_model: 32, n_heads: 2, n_layers: 1, d_ff: 64}
training: {steps: 2, batch_size: 4, evaluate_every: 2, validation_examples: 8}
tasks:
  - {name: listops, options: {min_length: 10, max_length: 30, n_train: 16, n_validation: 8, n_test: 8}}
variants:
  - {name: softmax, baseline: true}
  - {name: reformer, options: {bucket_size: 8}}
  - {name: linformer, options: {rank: 30}, model: {n_layers: 12}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("budgets")
    (work / "budgets.yaml").write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARENA_DATA", str(tmp_path_factory.mktemp("data")))
        summary = attention_arena.run_study(work / "budgets.yaml", results=work / "results", device="cpu", report=False)
    return summary.folder


def test_the_table_says_what_was_matched_and_how_nearly(folder: Path) -> None:
    runs = attention_arena.load_results(folder).runs
    baseline, reformer, linformer = runs.iter_rows(named=True)
    assert [row["status"] for row in (baseline, reformer, linformer)] == ["done", "done", "unsupported"]
    assert (baseline["matched"], baseline["match_gap"]) == (None, None)
    assert reformer["matched"] == "parameters"
    assert abs(reformer["match_gap"]) <= 0.01
    assert "d_ff=80" in reformer["departs_from_shape"]
    assert reformer["parameters"] == pytest.approx(baseline["parameters"], rel=0.01)
    assert "cannot come within 1 % of softmax's" in linformer["detail"]


def test_the_report_says_it_in_words(folder: Path) -> None:
    told = {row["label"]: row["departs_from_shape"] for row in departures(attention_arena.load_results(folder))}
    assert told["reformer (bucket_size=8)"].startswith(
        "residual=reversible, matched parameters to softmax: d_ff 64 -> 80 ("
    )
    assert told["linformer (rank=30)"] == "n_layers=12"
    assert "softmax" not in told


def test_a_run_done_under_another_plan_is_shown_under_the_present_one(folder: Path) -> None:
    study = (folder / "study.json").read_text()
    assert '"matched": "parameters"' in study
    (folder / "study.json").write_text(study.replace('"matched": "parameters"', '"matched": "flops"'))
    try:
        runs = attention_arena.load_results(folder).runs
    finally:
        (folder / "study.json").write_text(study)
    assert runs.filter(pl.col("variant") == "reformer")["matched"].to_list() == ["flops"]
