"""Work that goes through `torch.compile`: compiled once, the time of that apart, and kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from attention_arena.measures.timing.stopwatch import Call, Stopwatch


@dataclass
class Compilation:
    """Prepares work whose first call compiles it; later it hands out the same work again, because compiling is dear."""

    prepare: Callable[[], Call]
    stopwatch: Stopwatch
    first_call: float | None = None
    """Seconds of the call that compiled."""
    work: Call | None = None

    def __call__(self) -> Call:
        """Return the compiled work, its first call done, with no cache of an earlier process to help it."""
        if self.work is None:
            work = self.prepare()
            with torch.compiler.config.patch(force_disable_caches=True):  # type: ignore[attr-defined]
                self.first_call = self.stopwatch(work, 1)
            self.work = work
        return self.work
