"""Results side by side, published numbers and the live page, as a user calls them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

STUDY = """
name: tiny
question: Does it run?
seeds: [0]
model: {d_model: 16, n_heads: 2, n_layers: 1, d_ff: 16}
training: {steps: 4, batch_size: 4, evaluate_every: 2, validation_examples: 8}
tasks:
  - {name: listops, options: {min_length: 10, max_length: 30, n_train: 16, n_validation: 8, n_test: 8}}
variants:
  - {name: softmax, baseline: true}
  - {name: performer, options: {n_features: 8}}
"""


def arena(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ARENA_DATA": str(cwd / "data")}
    command = [sys.executable, "-m", "attention_arena", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study run with a live page, and a copy of its results in which one run failed."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "tiny.yaml").write_text(STUDY)
    answer = arena("run", "tiny.yaml", "--live", cwd=folder)
    assert answer.returncode == 0, answer.stderr
    shutil.copytree(folder / "results", folder / "worse")
    [record] = folder.glob("worse/tiny/full/runs/*performer*/record.json")
    content = json.loads(record.read_text())
    content["record"] |= {"status": "failed", "detail": "ValueError: no", "value": None, "value_last": None}
    record.write_text(json.dumps(content))
    return folder


def test_a_live_study_ends_with_the_page_of_all_its_runs(work: Path) -> None:
    page = (work / "results" / "tiny" / "full" / "report" / "index.html").read_text()
    assert "2 of 2 runs done" in page
    assert "Still running" not in page


def test_results_are_compared_in_the_terminal_and_on_a_page(work: Path) -> None:
    answer = arena("compare", "results", "worse", "--out", "compare", cwd=work)
    assert answer.returncode == 0, answer.stderr
    assert "failed now: ValueError: no" in answer.stdout
    assert answer.stdout.splitlines()[-1].startswith("B against A: 1 got worse, ")
    assert "failed now" in (work / "compare" / "index.html").read_text()
    assert "got worse" in set(pl.read_csv(work / "compare" / "compare.csv")["verdict"])


@pytest.mark.parametrize(("other", "status"), [("results", 0), ("worse", 1)], ids=["the same", "worse"])
def test_an_automatic_check_fails_on_what_got_worse(work: Path, other: str, status: int) -> None:
    assert arena("compare", "results", other, "--fail-on-worse", cwd=work).returncode == status


def test_published_numbers_stand_in_a_section_of_their_own(work: Path) -> None:
    answer = arena("report", "worse", "--published", cwd=work)
    assert answer.returncode == 0, answer.stderr
    page = (work / "worse" / "tiny" / "full" / "report" / "index.html").read_text()
    assert "Published numbers" in page
    assert "ours has max_length=30, min_length=10, not comparable" in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["results"], "2 to 26 folders of results, got 1"), (["results", "nowhere"], "nowhere, which does not exist")],
    ids=["one folder", "no folder"],
)
def test_a_wrong_folder_is_one_message_and_exit_code_2(work: Path, arguments: list[str], words: str) -> None:
    answer = arena("compare", *arguments, cwd=work)
    assert answer.returncode == 2
    assert words in answer.stderr
    assert "Traceback" not in answer.stderr
