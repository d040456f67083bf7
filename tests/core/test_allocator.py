"""Freed memory stays or goes, as a process has asked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from attention_arena.allocator import ENVIRONMENT
from attention_arena.runs import worker

SCRIPT = """
import resource, sys
import torch
from attention_arena import allocator
getattr(allocator, sys.argv[1])()
MIB = 2**20
def block():
    return torch.ones(64 * MIB, dtype=torch.uint8)
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
for _ in range(3):  # something small may stand in the way of the first
    block()
held, before = resident(), faults()
kept = block()
print(faults() - before, (resident() - held) // MIB)
"""


def next_allocation(rule: str) -> tuple[int, int]:
    """Return page faults, and MiB that the resident set grows by, when 64 MiB are taken again."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, rule],
        env={**os.environ, **ENVIRONMENT},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    n_faults, growth = map(int, done.stdout.split())
    return n_faults, growth


@pytest.mark.skipif(sys.platform != "linux", reason="counts page faults in /proc")
class TestFreedMemory:
    def test_it_stays_and_is_taken_again_without_a_page_fault(self) -> None:
        n_faults, growth = next_allocation("keep_what_is_freed")
        assert n_faults < 100
        assert growth == 0

    def test_it_is_returned_and_comes_back_page_by_page(self) -> None:
        n_faults, growth = next_allocation("return_what_is_freed")
        assert n_faults >= 64 * 2**20 / 4096
        assert growth == 64


def test_a_run_keeps_memory_from_when_its_data_is_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    order: list[str] = []

    class Loaded:
        def __init__(self, *_: object) -> None:
            order.append("load")

        def execute(self, threads: int) -> str:
            order.append("train")
            return "outcome"

    monkeypatch.setattr(worker, "Execution", Loaded)
    monkeypatch.setattr(worker, "keep_what_is_freed", lambda: order.append("keep"))
    worker.execute(tmp_path, torch.device("cpu"), threads=1)
    assert order == ["load", "keep", "train"]
