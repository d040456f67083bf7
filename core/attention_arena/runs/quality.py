"""Scores of a trained model: rows of the measurements table, and what each example was given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy

from attention_arena.evaluation import Evaluation
from attention_arena.runs.record import MeasurementRow
from attention_arena.task import Objective
from attention_arena.training import Outcome


def quality_rows(objective: Objective, trained: Outcome) -> list[MeasurementRow]:
    """Return every metric on validation and on test, at the best and the last step."""

    def rows(phase: str, metrics: dict[str, float]) -> list[MeasurementRow]:
        return [
            MeasurementRow(
                measure=metric.name,
                phase=phase,
                value=metrics[metric.name],
                unit=metric.unit,
                higher_is_better=metric.higher_is_better,
            )
            for metric in objective.metrics
            if metric.name in metrics
        ]

    found = rows("validation, best step", trained.best_validation)
    for phase, evaluation in (("test, best step", trained.test_best), ("test, last step", trained.test_last)):
        found += rows(phase, evaluation.metrics) if evaluation else []
    return found


def save_predictions(path: Path, trained: Outcome) -> None:
    """Save per-example values on test at the best and at the last step, for paired comparisons."""

    def arrays(name: str, evaluation: Evaluation | None) -> dict[str, Any]:
        return {f"{name}_{key}": values.numpy() for key, values in evaluation.examples.items()} if evaluation else {}

    with path.open("wb") as file:
        numpy.savez_compressed(file, **arrays("best", trained.test_best), **arrays("last", trained.test_last))
