"""A ceiling on what a CPU cell may allocate, so that a cell too large fails alone and not its run or the machine."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch

from attention_arena.held import private_bytes

SHARE_OF_LIMIT = 0.95
"""Of a run's limit; the rest is for pages of libraries, which count as resident but are no allocations."""
SHARE_OF_AVAILABLE = 0.8
"""Of the memory that the machine has to spare, where a run has no limit."""
LEAST_HEADROOM = 64 * 2**20
"""Bytes that remain even where the budget is used up, for stacks of threads and for the interpreter itself."""
_CGROUP_FILES = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


@contextmanager
def memory_budget(limit: int | None) -> Iterator[None]:
    """Let allocations fail that would take this process and its children beyond 95 % of `limit` bytes of memory.

    They fail as PyTorch's and Python's own errors, which `passes.is_out_of_memory` knows. Without a limit, 80 % of what
    the machine (or the container) has to spare may be taken. Linux counts private writable memory, touched or not
    (RLIMIT_DATA); the process's earlier limit holds again afterwards. Nothing happens on other systems, nor once the
    process uses a GPU, whose driver reserves address space without bound.
    """
    if sys.platform != "linux" or torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        yield
        return
    _start_threads()
    before, hard = resource.getrlimit(resource.RLIMIT_DATA)
    ceiling = _data_bytes() + max(_headroom(limit), LEAST_HEADROOM)
    ceilings = [ceiling] + [bound for bound in (before, hard) if bound != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(ceilings), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, hard))


def _start_threads() -> None:
    """Make PyTorch start its threads, because OpenMP ends the process when it cannot start one."""
    torch.ones(2**17).add_(1)


def _headroom(limit: int | None) -> int:
    """Return the bytes that may be allocated beyond what is held now."""
    if limit is not None:
        return int(SHARE_OF_LIMIT * limit) - held_here()
    return int(SHARE_OF_AVAILABLE * min(psutil.virtual_memory().available, *_container_headrooms()))


def held_here() -> int:
    """Return the bytes that this process holds, with what its children do not share."""
    here = psutil.Process()
    return int(here.memory_info().rss) + sum(private_bytes(child) for child in here.children(recursive=True))


def _container_headrooms() -> list[int]:
    """Return what the process's container has left, as far as the system says so; the machine's memory at least."""
    found = [psutil.virtual_memory().total]
    for limit, usage in _CGROUP_FILES:
        try:
            found.append(max(0, int(Path(limit).read_text()) - int(Path(usage).read_text())))
        except (OSError, ValueError):
            continue  # There is no such file, or it says "max".
    return found


def _data_bytes() -> int:
    """Return the private writable memory of this process, which is what RLIMIT_DATA bounds."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmData:")[2].split()[0]) * 1024
