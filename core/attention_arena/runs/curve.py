"""`curve.jsonl`, and the note of progress that the runner and `arena status` read."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from attention_arena.runs.outcome import PROGRESS_FILE
from attention_arena.runs.record import CurvePoint

PROGRESS_EVERY = 0.3
"""Seconds between two notes of progress."""


class Curve:
    """`curve.jsonl`, a line for each point, and the note of progress that the runner and `arena status` read."""

    def __init__(self, folder: Path, steps: int) -> None:
        self.folder, self.steps = folder, steps
        self.noted = 0.0

    def __enter__(self) -> Curve:
        self.file = (self.folder / "curve.jsonl").open("w", buffering=1)
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        (self.folder / PROGRESS_FILE).unlink(missing_ok=True)

    def point(self, step: int, seconds: float, split: Any, metric: str, value: float) -> None:
        """Add one point."""
        point = CurvePoint(step=step, seconds=round(seconds, 4), split=split, metric=metric, value=value)
        self.file.write(point.model_dump_json() + "\n")

    def step(self, step: int) -> None:
        """Note progress, a few times a second at most."""
        now = time.monotonic()
        if now - self.noted >= PROGRESS_EVERY:
            self.noted = now
            (self.folder / PROGRESS_FILE).write_text(f"{step} {self.steps}")
