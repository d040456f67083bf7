"""Memory on a GPU: what is called of PyTorch, in which order, with a stand-in for the device."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from attention_arena.measure import Answer
from attention_arena.measures import MEMORY
from attention_arena.measures.apart import run_apart
from attention_arena.measures.memory.capacity import CAPACITY, bytes_of_pass
from attention_arena.measures.memory.footprint import peaks_of
from attention_arena.measures.passes import is_out_of_memory
from tests.core.measures.fake_cuda import GIB, FakeCuda
from tests.core.measures.toys import measured, subject_of

GPU = torch.device("cuda")


def test_peaks_are_read_after_the_work_and_from_a_level_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda(monkeypatch)
    cuda.work(allocate=10_000)  # A peak of earlier work, which is not this pass's.
    cuda.calls.clear()
    peaks = peaks_of(lambda: cuda.work(allocate=700), GPU)
    assert peaks == {"peak_memory": 700, "reserved_memory": 1000 + 100 + 700}
    assert cuda.calls == ["synchronize", "empty_cache", "reset", "work", "synchronize", "read", "read"]


@pytest.mark.parametrize(("device", "index"), [("cuda", 1), ("cuda:0", 0), ("cuda:3", 3)])
def test_a_budget_is_the_share_of_the_whole_device_that_pytorch_may_reserve(
    monkeypatch: pytest.MonkeyPatch, device: str, index: int
) -> None:
    """Whatever of it is free; and the device is named by its number, which `cuda` is without."""
    cuda = FakeCuda(monkeypatch, free=5 * GIB)
    subject = replace(subject_of(), device=torch.device(device))
    assert bytes_of_pass(subject, "training", 2, 8, budget=4 * GIB) == cuda.reserved + cuda.peak
    assert cuda.fractions == [(0.25, index)]
    assert cuda.calls == ["empty_cache", "reset", "synchronize", "read"]


def test_a_budget_beyond_what_the_device_has_free_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a size that does not fit would say something of the other processes there."""
    cuda = FakeCuda(monkeypatch, free=2 * GIB)
    (row,) = measured(CAPACITY, replace(subject_of(), device=GPU), what=["length"], budget_gib=3)
    assert (row.status, cuda.fractions) == ("failed", [])
    assert "budget_gib (3) must not exceed what the GPU has free (2.00 GiB); lower it" in (row.detail or "")


def test_rows_of_a_gpu_are_of_allocated_and_reserved_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda(monkeypatch)
    rows = measured(MEMORY, replace(subject_of(), device=GPU), lengths=[8])
    names = {phase: [row.measure for row in rows if row.phase == phase] for phase in ("inference", "training")}
    peaks = ["peak_memory", "reserved_memory"]
    assert names["inference"] == [*peaks, "state_bytes"]
    held = ["parameter_memory", "gradient_memory", "optimizer_memory"]
    assert names["training"] == ["saved_for_backward", *peaks, *held]
    assert all(row.status == "done" for row in rows)


def test_a_fresh_process_finds_the_gpu_without_what_this_one_keeps_for_later(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda(monkeypatch)

    def apart(function: Any, arguments: Any, seconds: Any) -> Answer:
        cuda.note("apart")
        return Answer("done", 1)

    run_apart(replace(subject_of(), device=GPU, apart=apart), bytes_of_pass, {})
    run_apart(replace(subject_of(), apart=apart), bytes_of_pass, {})
    assert cuda.calls == ["empty_cache", "apart", "apart"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (torch.AcceleratorError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("out of resource: shared memory, Required: 180224, Hardware limit: 101376"), False),
    ],
    ids=["allocator", "driver", "cublas", "cudnn", "illegal access", "shared memory"],
)
def test_an_error_of_cuda_is_out_of_memory_where_it_says_so(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) == expected
