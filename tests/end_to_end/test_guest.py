"""A third party's package, installed with pip outside the repository, is found without a change here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

GUEST = Path(__file__).parents[2] / "examples" / "attention-arena-guest"
STUDY = """
name: visit
model: {d_model: 16, n_heads: 2, n_layers: 1, d_ff: 16}
training: {steps: 2, batch_size: 4, evaluate_every: 2, validation_examples: 4}
tasks:
  - {name: listops, options: {min_length: 10, max_length: 30, n_train: 8, n_validation: 4, n_test: 4}}
variants: [{name: cosine, sweep: {sharpness: [5.0, 10.0]}}]
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> dict[str, str]:
    """The environment of a machine that has the guest."""
    source, site = tmp_path_factory.mktemp("source") / "guest", tmp_path_factory.mktemp("site")
    shutil.copytree(GUEST, source)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(site), str(source)], check=True, capture_output=True)
    return {**os.environ, "PYTHONPATH": str(site), "ARENA_DATA": str(site / "data")}


def test_the_guest_is_listed_and_takes_part_in_a_study(installed, tmp_path):
    (tmp_path / "visit.yaml").write_text(STUDY)

    def arena(*arguments: str) -> str:
        command = [sys.executable, "-m", "attention_arena", *arguments]
        answer = subprocess.run(command, cwd=tmp_path, env=installed, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    assert "[attention-arena-guest 0.1.0]" in arena("list", "variants")
    assert "2 runs: 2 done" in arena("run", "visit.yaml")


def test_the_guests_own_tests_pass(installed):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(GUEST / "tests")]
    answer = subprocess.run(command, cwd=GUEST, env=installed, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout
    assert "passed" in answer.stdout
