"""What a child process tells its runner."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from attention_arena.runs.record import MeasurementRow

OUTCOME_FILE = "outcome.json"
PROGRESS_FILE = "progress"


class Outcome(BaseModel):
    """`outcome.json`, the child's last word; the runner makes the record of it and removes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: Literal["done", "failed", "oom", "diverged"]
    detail: str | None = None
    steps: int = 0
    best_step: int | None = None
    metric: str | None = None
    unit: str | None = None
    higher_is_better: bool | None = None
    value: float | None = None
    value_last: float | None = None
    examples: int | None = None
    step_ms: float | None = None
    tokens_per_second: float | None = None
    parameters: int | None = None
    flops_per_token: float | None = None
    peak_memory_bytes: int | None = None
    saved_for_backward_bytes: int | None = None
    device: str | None = None
    device_name: str | None = None
    threads: int | None = None
    torch_version: str | None = None
    measurements: list[MeasurementRow] = []
    trivial_baselines: dict[str, float] = {}
    source: dict[str, str | None] = {}
    length: int | None = None
    working_seconds: float = 0.0
    """Wall time of training steps, evaluation passes and measures; the rest of the child's life is the harness."""
