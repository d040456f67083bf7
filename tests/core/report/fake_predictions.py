"""What a fake run said on each test example, and how long it took beside the baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy

from attention_arena.runs.record import MeasurementRow

UNTRAINED: Mapping[str, Any] = {
    **dict.fromkeys(("metric", "unit", "value", "value_last", "higher_is_better", "examples", "split", "best_step")),
    **dict.fromkeys(("trivial_baseline", "trivial_baseline_name", "tokens_per_second", "step_ms")),
    "steps": 0,
}
"""What differs in a record where nothing was trained."""


def predictions(variant: Any, task: Any, seed: int, n: int) -> dict[str, Any]:
    """Return arrays (N,) as a run saves them; examples differ in difficulty, which all variants and seeds share."""
    shared = numpy.random.default_rng(len(task.name))
    difficulty = shared.normal(size=n)
    own = numpy.random.default_rng(int.from_bytes(f"{variant.label}{task.name}{seed}".encode()[:64], "little"))
    noise = own.normal(size=n)
    if task.unit == "%":
        bar = NormalDist().inv_cdf(min(0.999, max(0.001, task.score(variant.skill) / 100)))
        return {"best_correct": (difficulty + noise) / 2**0.5 < bar, "best_target": shared.integers(0, 9, n)}
    tokens = numpy.full(n, 64.0)
    nats = tokens * math.log(2) * (task.score(variant.skill) + 0.3 * difficulty + 0.05 * noise)
    return {"best_nats": nats, "best_tokens": tokens, "best_chain": numpy.arange(n) % 8}


def score_of(arrays: Mapping[str, Any]) -> float:
    """Return the accuracy in percent, or the bits per token, that the arrays come to."""
    if "best_correct" in arrays:
        return 100 * float(arrays["best_correct"].mean())
    return float(arrays["best_nats"].sum() / arrays["best_tokens"].sum()) / math.log(2)


def time_ratio_rows(ratio: float | None) -> list[MeasurementRow]:
    """Return `ratio` at 1024 tokens and a quarter of it at 4096, for both phases; nothing for None."""
    lengths = [] if ratio is None else [(1024, ratio), (4096, ratio / 4)]
    return [
        MeasurementRow(
            measure="time_ratio",
            phase=phase,
            length=length,
            value=value,
            unit="×",
            higher_is_better=False,
            low=value / 1.05,
            high=value * 1.05,
            samples=9,
        )
        for phase in ("training", "inference")
        for length, value in lengths
    ]
