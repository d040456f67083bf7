"""The child process: what it imports, what it leaves, and that it dies with its parent."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from attention_arena.runs.worker import is_out_of_memory

HEAVY = ("polars", "seaborn", "matplotlib", "pandas", "typer", "jinja2")


def test_the_child_imports_neither_polars_nor_seaborn_nor_the_command_line():
    script = f"""
import sys
import attention_arena.runs.worker
from attention_arena.catalogue import load_catalogue
catalogue = load_catalogue(kinds=("variant", "task", "measure"))
assert "softmax" in catalogue.variants and not catalogue.figures
sys.exit(", ".join(name for name in {HEAVY!r} if name in sys.modules))
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert answer.stderr.strip() == ""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"),
    ],
)
def test_out_of_memory_is_known_by_its_errors(error):
    assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("shapes differ"))
