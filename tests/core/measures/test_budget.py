"""A cell that wants more memory than there is fails alone, and what it took is free again."""

import resource
import subprocess
import sys
import threading

import psutil
import pytest
import torch

from attention_arena.measures.budget import held_here, memory_budget
from attention_arena.measures.passes import is_out_of_memory
from tests.core.measures.toys import MIB

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded on Linux alone")


def limit_above_present(n_mib: int) -> int:
    """Return a limit whose 95 % leave so many mebibytes."""
    return int((held_here() + n_mib * MIB) / 0.95)


def allocate(n_mib: int) -> torch.Tensor:
    return torch.empty(n_mib * MIB, dtype=torch.uint8)


class TestMemoryBudget:
    def test_an_allocation_beyond_the_limit_is_out_of_memory(self) -> None:
        with pytest.raises(RuntimeError) as raised, memory_budget(limit_above_present(200)):
            allocate(300)
        assert is_out_of_memory(raised.value)

    def test_one_within_the_limit_succeeds(self) -> None:
        with memory_budget(limit_above_present(200)):
            assert allocate(150).numel() == 150 * MIB

    def test_small_allocations_add_up(self) -> None:
        kept: list[torch.Tensor] = []
        with pytest.raises(RuntimeError) as raised, memory_budget(limit_above_present(200)):
            kept.extend(allocate(20) for _ in range(20))
        assert is_out_of_memory(raised.value)
        assert 5 <= len(kept) <= 10

    def test_what_python_allocates_counts_too(self) -> None:
        with pytest.raises(MemoryError) as raised, memory_budget(limit_above_present(200)):
            bytearray(300 * MIB)
        assert is_out_of_memory(raised.value)

    def test_the_former_limit_holds_again_after_success_and_failure(self) -> None:
        before = resource.getrlimit(resource.RLIMIT_DATA)
        with memory_budget(limit_above_present(200)):
            assert resource.getrlimit(resource.RLIMIT_DATA) != before
        assert resource.getrlimit(resource.RLIMIT_DATA) == before
        with pytest.raises(ValueError, match="inside"), memory_budget(limit_above_present(200)):
            raise ValueError("inside")
        assert resource.getrlimit(resource.RLIMIT_DATA) == before
        assert allocate(300).numel() == 300 * MIB

    def test_an_inner_budget_does_not_widen_an_outer_one(self) -> None:
        with memory_budget(limit_above_present(200)):
            outer = resource.getrlimit(resource.RLIMIT_DATA)
            with memory_budget(limit_above_present(2000)):
                assert resource.getrlimit(resource.RLIMIT_DATA) == outer

    def test_threads_start_even_when_the_budget_is_used_up(self) -> None:
        with memory_budget(1):
            threads = [threading.Thread(target=lambda: torch.ones(10).sum()) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def test_without_a_limit_no_more_than_the_machine_has_may_be_taken(self) -> None:
        with memory_budget(None):
            allocate(100)
            with pytest.raises(RuntimeError, match="allocate memory"):
                allocate(psutil.virtual_memory().total // MIB)


def test_the_process_outlives_a_model_that_wants_more_than_its_budget() -> None:
    """In a process of its own on two threads, as a run is: the resident set stays below the limit."""
    code = """
import psutil, torch
from attention_arena.measures.budget import held_here, memory_budget
from attention_arena.measures.passes import is_out_of_memory
torch.set_num_threads(2)
limit = psutil.Process().memory_info().rss + 300 * 2**20
try:
    with memory_budget(limit):
        x = torch.ones(1, 2000, 64, requires_grad=True)
        for _ in range(50):
            (x @ x.mT).softmax(-1).square().sum().backward()
            kept = [*globals().get("kept", []), (x @ x.mT).softmax(-1)]
except (RuntimeError, MemoryError) as error:
    print(is_out_of_memory(error), psutil.Process().memory_info().rss < limit)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert (done.stdout.split(), done.returncode) == (["True", "True"], 0), done.stderr
