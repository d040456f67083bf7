"""The command as a user calls it: study file to report, again, after a kill, with mistakes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import polars as pl
import psutil
import pytest

import attention_arena

REPOSITORY = Path(__file__).parents[2]
STUDY = """
name: tiny
question: Does it run?
seeds: [0]
model: {d_model: 16, n_heads: 2, n_layers: 1, d_ff: 16}
training: {steps: 4, batch_size: 4, evaluate_every: 2, validation_examples: 8}
measure: [parameters]
tasks:
  - {name: listops, options: {min_length: 10, max_length: 30, n_train: 16, n_validation: 8, n_test: 8}}
variants:
  - {name: softmax, baseline: true}
  - {name: transformer_xl, options: {memory: 8, segment_length: 8}}
  - {name: reformer, options: {bucket_size: 8}}
"""
MISTAKES = """
name: ../escape
question: [what]
seeds: [0, 0]
modle: {d_model: 64}
model: {d_model: wide}
training: {steps: -1, learning_rat: 1e-3}
tasks:
  - listop
  - {name: language_model, options: {lenght: 12}}
variants:
  - sofmax
  - {name: reformer, sweep: {n_hashes: []}}
profiles:
  big: {mesure: []}
"""


def arena(*arguments: str, cwd: Path, data: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ARENA_DATA": str(data)}
    command = [sys.executable, "-m", "attention_arena", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data) -> Path:
    folder = tmp_path_factory.mktemp("work")
    (folder / "tiny.yaml").write_text(STUDY)
    answer = arena("run", "tiny.yaml", cwd=folder, data=data)
    assert answer.returncode == 0, answer.stderr
    assert "3 runs: 3 done" in answer.stdout
    return folder


def test_a_study_runs_from_yaml_to_report(finished):
    folder = finished / "results" / "tiny" / "full"
    page = (folder / "report" / "index.html").read_text()
    assert "Does it run?" in page
    assert "transformer_xl" in page
    frame = pl.read_parquet(folder / "runs.parquet")
    assert frame["status"].to_list() == ["done"] * 3
    assert set(attention_arena.load_results(folder).runs["variant"]) == {"softmax", "transformer_xl", "reformer"}


def test_a_second_call_does_nothing_and_says_so(finished, data):
    records = {path: path.read_bytes() for path in finished.rglob("record.json")}
    answer = arena("run", "tiny.yaml", cwd=finished, data=data)
    assert answer.returncode == 0
    assert "nothing to do: all 3 runs have their verdict" in answer.stdout
    assert {path: path.read_bytes() for path in finished.rglob("record.json")} == records


def test_status_and_report_read_what_is_there(finished, data):
    assert arena("--version", cwd=finished, data=data).stdout.startswith("attention-arena ")
    status = arena("status", cwd=finished, data=data)
    assert "tiny (full): 3 of 3 runs have their verdict" in status.stdout
    assert arena("report", "results/tiny", cwd=finished, data=data).returncode == 0


def test_a_killed_runner_loses_nothing_and_repeats_nothing(tmp_path, data):
    (tmp_path / "tiny.yaml").write_text(STUDY.replace("steps: 4", "steps: 40"))
    command = [sys.executable, "-m", "attention_arena", "run", "tiny.yaml"]
    runner = subprocess.Popen(
        command, cwd=tmp_path, env={**os.environ, "ARENA_DATA": str(data)}, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("record.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    first = {path.parent.name: json.loads(path.read_text())["record"] for path in tmp_path.rglob("record.json")}
    assert 1 <= len(first) < 3
    answer = arena("run", "tiny.yaml", cwd=tmp_path, data=data)
    assert answer.returncode == 0, answer.stderr
    after = {path.parent.name: json.loads(path.read_text())["record"] for path in tmp_path.rglob("record.json")}
    assert len(after) == 3
    assert all(after[run] == record for run, record in first.items())
    assert sorted(record["attempt"] for record in after.values()) in ([1, 1, 1], [1, 1, 2])


def test_an_interrupted_study_says_how_to_go_on_and_leaves_no_child(tmp_path, data):
    (tmp_path / "tiny.yaml").write_text(STUDY.replace("steps: 4", "steps: 100000"))
    command = [sys.executable, "-m", "attention_arena", "run", "tiny.yaml"]
    environment = {**os.environ, "ARENA_DATA": str(data)}
    runner = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("progress")) and time.monotonic() < deadline:
        time.sleep(0.05)
    runner.send_signal(signal.SIGINT)
    _, said = runner.communicate(timeout=60)
    assert runner.returncode == 130
    assert "the same command goes on from here" in said
    assert not list(tmp_path.rglob("record.json"))
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])]


def test_every_mistake_is_named_at_once_and_nothing_is_written(tmp_path, data):
    (tmp_path / "wrong.yaml").write_text(MISTAKES)
    for command in ("validate", "run"):
        answer = arena(command, "wrong.yaml", cwd=tmp_path, data=data)
        assert answer.returncode == 2
        assert "Traceback" not in answer.stderr
        names = (
            "../escape",
            "question",
            "seeds",
            "modle",
            "wide",
            "steps",
            "learning_rat",
            "listop",
            "lenght",
            "sofmax",
        )
        for name in (*names, "n_hashes", "mesure"):
            assert name in answer.stderr, name
        assert "did you mean 'softmax'" in answer.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["wrong.yaml"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "lraa"], "did you mean 'lra'"),
        (["run", "tiny.yaml", "--device", "tpu"], "device must be auto, cpu, cuda"),
        (["run", "tiny.yaml", "--executor", "slrum"], "unknown executor 'slrum'"),
        (["run", "tiny.yaml", "--profile", "huge"], "huge"),
        (["run", "tiny.yaml", "--only", "performer"], "no run matches performer"),
        (["run", "tiny.yaml", "--results", "/proc/nowhere"], "cannot write results to /proc/nowhere"),
        (["report", "nowhere"], "no results in nowhere"),
        (["status", "nowhere"], "no results in nowhere"),
    ],
)
def test_a_wrong_argument_is_one_message_and_exit_code_2(tmp_path, data, arguments, words):
    (tmp_path / "tiny.yaml").write_text(STUDY)
    answer = arena(*arguments, cwd=tmp_path, data=data)
    assert answer.returncode == 2, answer.stderr
    assert words in answer.stderr
    assert "Traceback" not in answer.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_help_imports_no_torch():
    script = """
import sys
sys.argv = ["arena", "--help"]
from attention_arena.commands import main
try:
    main()
except SystemExit:
    pass
sys.exit(", ".join(name for name in ("torch", "polars", "seaborn", "pydantic") if name in sys.modules))
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert answer.stderr.strip() == ""
    assert "Run a study" in answer.stdout


def test_the_wheel_carries_packages_and_studies(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"attention_arena/studies/lra.yaml", "attention_arena/studies/smoke.yaml"} <= names
    assert "attention_arena_variants/softmax/attention.py" in names
    assert "attention_arena_tasks/listops/generate.py" in names
    assert any(name.startswith("attention_arena/report/page/templates/") for name in names)
