"""How far a process's resident memory rises while a function runs.

Linux keeps the highest level itself and forgets it on request (`/proc/self/clear_refs`), so no peak is too short to be
seen. Elsewhere the level is read every millisecond. What the C library keeps after memory was freed would hide in the
level before and count for nothing in the peak: `attention_arena.allocator.return_what_is_freed` makes it keep nothing.
"""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil

SAMPLE_SECONDS = 0.001
"""Pause between two readings of the resident set, where the system keeps no peak that can be reset."""


def resident_growth(function: Callable[[], object]) -> int:
    """Return how far the resident set rises above its present level while `function` runs, in bytes.

    Exact on Linux up to what its kernel counts per processor (256 KiB each at most on a small machine); a shorter peak
    than a millisecond can be missed elsewhere.
    """
    gc.collect()
    if sys.platform == "linux":
        getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: 0)(0)
    level = _forget_peak()
    if level is None:
        return _sampled_growth(function)
    function()
    return max(0, _highest() - level)


def _forget_peak() -> int | None:
    """Make the peak of the resident set its present level and return that, or None where the system cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        level = _highest()
    except (OSError, IndexError):
        return None
    # Some sandboxes take the request and do nothing.
    return level if level - psutil.Process().memory_info().rss < 2**20 else None


def room_for_data() -> int | None:
    """Return the bytes that this process may still allocate; None where it has no limit that binds (RLIMIT_DATA)."""
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    if sys.platform != "linux" or limit == resource.RLIM_INFINITY:
        return None
    return limit - _status("VmData")


def _highest() -> int:
    return _status("VmHWM")


def _status(field: str) -> int:
    """Return a field of this process's status, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{field}:")[2].split()[0]) * 1024


def _sampled_growth(function: Callable[[], object]) -> int:
    process = psutil.Process()
    before = highest = process.memory_info().rss
    done = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(SAMPLE_SECONDS):
            highest = max(highest, process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        function()
    finally:
        done.set()
        watcher.join()
    return max(highest, process.memory_info().rss) - before
