"""What a reader must know of the machine to read the figures."""

from __future__ import annotations

import platform
from pathlib import Path

import torch
from torch.nn import functional

from bench.timing import Effort, cpu_clock, take_turns, threads


def processor() -> str:
    """Return the processor's name."""
    try:
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        return names[0].partition(":")[2].strip()
    except (OSError, IndexError):
        return platform.processor() or "unknown processor"


def half_precision_ratio() -> float:
    """Return the time of a bf16 projection over that of the same one in float32, on one thread.

    Above 1 the processor has no units for bf16; our layers then multiply in float32 what they keep in half precision.
    """
    x, weight = torch.randn(4096, 512), torch.randn(512, 512)
    halves = x.bfloat16(), weight.bfloat16()
    calls = {"float32": lambda: functional.linear(x, weight), "bf16": lambda: functional.linear(*halves)}
    with threads(1):
        taken = take_turns(calls, Effort(samples=20, fewest=20, budget=10.0, short=0.0), cpu_clock)
    return min(taken["bf16"].seconds) / min(taken["float32"].seconds)
