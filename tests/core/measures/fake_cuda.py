"""A stand-in for the part of `torch.cuda` that measures use, as strict about arguments, which notes what is called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
import torch

GIB = 2**30


class Properties(NamedTuple):
    total_memory: int


class FakeEvent:
    """An event on a clock that only `FakeCuda.work` moves."""

    def __init__(self, cuda: FakeCuda, enable_timing: bool) -> None:
        assert enable_timing, "an event without timing has no elapsed_time"
        self.cuda, self.at = cuda, -1.0

    def record(self) -> None:
        self.cuda.note("record")
        self.at = self.cuda.finished

    def synchronize(self) -> None:
        self.cuda.note("event.synchronize")
        self.waited = True

    def elapsed_time(self, end: FakeEvent) -> float:
        """Milliseconds, as CUDA has them."""
        assert getattr(end, "waited", False), "elapsed_time of an event that has not been reached raises"
        return 1e3 * (end.at - self.at)


class FakeCuda:
    """One device of 16 GiB, of which `free` bytes are free; its current device is number 1."""

    current = 1

    def __init__(self, monkeypatch: pytest.MonkeyPatch, free: int = 16 * GIB) -> None:
        self.calls: list[str] = []
        self.finished = 0.0
        self.allocated, self.peak, self.reserved, self.free = 100, 100, 1000, free
        self.fractions: list[tuple[float, int]] = []
        for name in (
            "synchronize", "empty_cache", "reset_peak_memory_stats", "memory_allocated", "max_memory_allocated",
            "memory_reserved", "max_memory_reserved", "mem_get_info", "set_per_process_memory_fraction",
            "current_device", "device",
        ):  # fmt: skip
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        monkeypatch.setattr(torch.cuda, "Event", lambda enable_timing: FakeEvent(self, enable_timing))

    def note(self, call: str) -> None:
        self.calls.append(call)

    def work(self, seconds: float = 0.0, allocate: int = 0) -> None:
        """Do what a kernel does: take time in the queue, and memory for as long as it runs."""
        self.note("work")
        self.finished += seconds
        self.peak = max(self.peak, self.allocated + allocate)

    @contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        assert device.type == "cuda"
        yield

    def current_device(self) -> int:
        return self.current

    def synchronize(self, device: Any = None) -> None:
        self.note("synchronize")

    def empty_cache(self) -> None:
        self.note("empty_cache")

    def reset_peak_memory_stats(self, device: Any = None) -> None:
        self.note("reset")
        self.peak = self.allocated

    def memory_allocated(self, device: Any = None) -> int:
        return self.allocated

    def max_memory_allocated(self, device: Any = None) -> int:
        self.note("read")
        return self.peak

    def memory_reserved(self, device: Any = None) -> int:
        return self.reserved

    def max_memory_reserved(self, device: Any = None) -> int:
        self.note("read")
        return self.reserved + self.peak

    def mem_get_info(self, device: Any = None) -> tuple[int, int]:
        return self.free, 16 * GIB

    def set_per_process_memory_fraction(self, fraction: float, device: Any = None) -> None:
        assert isinstance(fraction, float), "PyTorch raises TypeError"
        assert 0 <= fraction <= 1, "PyTorch raises ValueError"
        assert isinstance(device, int) or device.index is not None, "PyTorch raises ValueError for `cuda` alone"
        self.fractions.append((fraction, device if isinstance(device, int) else device.index))
