"""What the C library does with freed memory: keep it, which is fast, or give it back, so that a peak can be told.

By default glibc maps each block beyond 32 MiB anew, and the kernel fills its pages with zeros, one fault after the
other, which shows in every step of training on long sequences. Both functions do nothing but on Linux with glibc.
"""

from __future__ import annotations

import ctypes
import sys

OWN_MAPPING = 64 * 2**10
"""Bytes from which a block has a mapping of its own, which is gone when the block is freed."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -3, -4, -8
NEVER = -1
SOME_MAPPINGS = 2**16
"""How many blocks may have mappings of their own, unless somebody says otherwise."""
PR_SET_THP_DISABLE = 41
ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
"""What a process that keeps memory is to be started with.

PyTorch asks for aligned blocks, and glibc cuts off what stands over. Small cuttings in its cache for threads would lie
between large blocks and keep them from growing together: the resident set would rise by a block with almost every one.
"""


def keep_what_is_freed() -> None:
    """Have memory stay with this process when it is freed, for the next one who asks; for a process that trains.

    The resident set then stays at its peak. `ENVIRONMENT` keeps that close to what is in use at one time.
    """
    _set((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, NEVER))


def return_what_is_freed() -> None:
    """Have memory go back to the system as soon as it is freed, in pages of 4 KiB, for the rest of this process.

    Allocation gets slower, so a process that is timed must not call it.
    """
    _set(
        (M_MMAP_MAX, SOME_MAPPINGS), (M_MMAP_THRESHOLD, OWN_MAPPING), (M_TRIM_THRESHOLD, OWN_MAPPING), (M_ARENA_MAX, 1)
    )
    if sys.platform == "linux":
        # A huge page is resident whole, though a part of it be touched.
        ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)


def _set(*rules: tuple[int, int]) -> None:
    library = ctypes.CDLL(None)
    if sys.platform == "linux" and hasattr(library, "mallopt"):
        for name, value in rules:
            library.mallopt(name, value)
