"""How much memory processes hold, where a page that several of them share is not counted for each.

A copy that is forked shares its pages until one of the two writes to them, and all processes share the code of their
libraries. Resident sets count such pages for every process. On Linux a process's proportional set (PSS) has its share
of them, and its private set (USS) has none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import psutil


def held_bytes(processes: Sequence[psutil.Process], enough: int = 0) -> int:
    """Return the bytes that some processes hold together: the sum of their proportional sets.

    To know these takes the kernel milliseconds for each GiB, during which the process cannot map memory. So where the
    resident sets come to no more than `enough` bytes together, their sum is returned, which is never too low. Where the
    system knows no proportional set, the resident set stands for it; a process that has ended holds nothing.
    """
    resident = {process: _resident(process) for process in processes}
    whole = sum(resident.values())
    return whole if whole <= enough else sum(_rolled_up(each, ["Pss"], size) for each, size in resident.items())


def private_bytes(process: psutil.Process) -> int:
    """Return the bytes that a process shares with no other, or its resident set where the system does not tell."""
    return _rolled_up(process, ["Private_Clean", "Private_Dirty"], _resident(process))


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _rolled_up(process: psutil.Process, fields: Sequence[str], resident: int) -> int:
    """Return the sum of some fields of what the kernel adds up over a process's mappings, or else `resident`."""
    try:
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    except ProcessLookupError:
        return 0
    except OSError:
        return resident
    kibibytes = {name: size for name, _, size in (line.partition(":") for line in lines)}
    if not all(field in kibibytes for field in fields):
        return resident
    return sum(int(kibibytes[field].split()[0]) for field in fields) * 1024
