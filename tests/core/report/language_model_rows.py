"""What the measures of perplexity would leave of a run, made of a formula."""

from __future__ import annotations

import math

from attention_arena.runs.record import MeasurementRow

LENGTH = 512
PROTOCOLS = {"chunks": (0.10, 1), "sliding, stride 128": (0.03, 4), "cached": (0.0, 1.4)}
"""Protocol -> bits above the best, times chunks' time."""


def language_model_rows(skill: float, carries_state: bool) -> list[MeasurementRow]:
    """Return the rows of a model that scores 3.4 - 2 `skill` bits at best."""
    best = 3.4 - 2 * skill
    rows = []
    for phase, (loss, time) in PROTOCOLS.items():
        if phase == "cached" and not carries_state:
            rows.append(_row("bits_per_byte", phase, None, "bits").model_copy(update=MISSING))
            continue
        rows.append(_row("bits_per_byte", phase, best + loss, "bits", samples=65_536))
        rows.append(_row("loss", phase, (best + loss) * math.log(2), "nats", samples=65_536))
        rows.append(_row("evaluation_time", phase, 0.01 * time, "ms/token", samples=30))
    rows += [
        _row("loss_by_position", "chunks", best + 2 / (start + 1), "nats", position=start)
        for start in (0, 1, 2, 3, 7, 15, 31, 127, 511)
    ]
    contexts = [2**k for k in range(12 if carries_state else 10)]
    rows += [_row("loss_by_context", "context", best + 2 / c, "nats", position=c) for c in contexts]
    detail = (
        "at least 2048: the longest context that was measured still saves 1.2% of perplexity" if carries_state else None
    )
    effective = _row("effective_context", "gain 0.01", float(contexts[-1] if carries_state else 64), "tokens")
    return [*rows, effective.model_copy(update={"detail": detail, "high": None if carries_state else 128.0})]


MISSING = {"status": "unsupported", "detail": "softmax carries no state from one segment to the next", "samples": 0}


def _row(
    measure: str, phase: str, value: float | None, unit: str, position: int | None = None, samples: int = 100
) -> MeasurementRow:
    return MeasurementRow(
        measure=measure,
        phase=phase,
        value=value,
        unit=unit,
        length=LENGTH,
        batch_size=16,
        position=position,
        higher_is_better=False,
        low=None if value is None else value * 0.97,
        high=None if value is None else value * 1.03,
        samples=samples,
    )
