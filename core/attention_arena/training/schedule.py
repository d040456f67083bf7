"""Learning rate by step: linear warm-up, then a decay."""

from __future__ import annotations

import math

from attention_arena.study.schema import TrainingSettings


def learning_rate(settings: TrainingSettings, step: int) -> float:
    """Return the learning rate of `step`, counted from 1 to `settings.steps`.

    Warm-up rises linearly and reaches the peak at `warmup_steps`. Then: constant; linear or cosine to 0 at the last
    step; inverse_sqrt as peak * sqrt(warmup_steps / step) (Vaswani et al. 2017, section 5.3).
    """
    peak, warmup = settings.learning_rate, settings.warmup_steps
    if step < warmup:
        return peak * step / warmup
    if settings.schedule == "inverse_sqrt":
        return peak * math.sqrt(max(warmup, 1) / max(step, 1))
    done = (step - warmup) / max(settings.steps - warmup, 1)
    if settings.schedule == "linear":
        return peak * (1 - done)
    if settings.schedule == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * done))
    return peak
