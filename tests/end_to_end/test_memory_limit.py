"""A run whose measures want more memory than it may hold is done, and its rows say what did not fit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

STUDY = """
name: short_of_memory
question: What fits?
seeds: [0]
model: {d_model: 16, n_heads: 2, n_layers: 1, d_ff: 16}
training: {steps: 0, batch_size: 1}
measure:
  - memory: {lengths: [256, 16384]}
  - flops: {lengths: [16384]}
  - capacity: {budget_gib: 0.03125, what: [length]}
limits: {memory_gib: 1.5}
tasks:
  - {name: listops, options: {min_length: 10, max_length: 30, n_train: 16, n_validation: 8, n_test: 8}}
variants:
  - {name: softmax, options: {implementation: naive}}
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded on Linux alone")
def test_a_cell_beyond_the_runs_memory_is_a_row_and_does_not_end_the_run(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    command = [sys.executable, "-m", "attention_arena", "run", "study.yaml"]
    environment = {**os.environ, "ARENA_DATA": str(tmp_path / "data")}
    answer = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    (path,) = tmp_path.glob("results/*/*/runs/*/record.json")
    file = json.loads(path.read_text())
    assert file["record"]["status"] == "done"
    rows = {(row["measure"], row["phase"], row["length"]): row for row in file["measurements"]}
    for name in ("peak_resident", "saved_for_backward"):
        row = rows[name, "training", 16384]
        # The weights of two heads are 2 GiB.
        assert (row["value"], row["status"]) == (None, "oom")
        assert "allocate" in row["detail"]
        assert rows[name, "training", 256]["value"] > 2 * 256**2 * 4
    assert rows["flops_per_token", "training", 16384]["value"] > 6 * 16384 * 16
    # 2 n^2 scores, as many probabilities and a few gradients of them, in 32 MiB.
    assert 600 < rows["largest_length", "training", None]["value"] < 2048
