"""The built-in cost measures: speed, memory, FLOPs and parameters."""

from __future__ import annotations

from collections.abc import Sequence

from attention_arena.hooks import hookimpl
from attention_arena.measure import Measure
from attention_arena.measures.flops import FLOPS, count_flops
from attention_arena.measures.memory import MEMORY, peak_memory, saved_for_backward
from attention_arena.measures.parameters import PARAMETERS, count_parameters
from attention_arena.measures.speed import SPEED, median_interval, time_calls

__all__ = [
    "FLOPS",
    "MEMORY",
    "PARAMETERS",
    "SPEED",
    "count_flops",
    "count_parameters",
    "median_interval",
    "peak_memory",
    "register_measures",
    "saved_for_backward",
    "time_calls",
]


@hookimpl
def register_measures() -> Sequence[Measure]:
    """Register the measures."""
    return [SPEED, MEMORY, FLOPS, PARAMETERS]
