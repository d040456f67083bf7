"""Scores of a trained model: rows of the measurements table, and what each example was given."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy

from attention_arena.evaluation import Evaluation
from attention_arena.runs.record import MeasurementRow
from attention_arena.statistics.quotients import TOLERANCE, quotient_of
from attention_arena.task import Metric, Objective
from attention_arena.training import Outcome

NARROW = ("correct", "predicted", "target", "count", "tokens", "bytes", "chain")
"""Arrays of small whole numbers, which are saved in the fewest bytes that hold them."""


def quality_rows(objective: Objective, trained: Outcome) -> list[MeasurementRow]:
    """Return every metric on validation and on test, at the best and the last step.

    On test, where a metric is known as a quotient of per-example values, with the interval that the examples support.
    """
    best = trained.best_validation
    rows = [_row(metric, "validation, best step", best) for metric in objective.metrics if metric.name in best]
    for phase, evaluation in (("test, best step", trained.test_best), ("test, last step", trained.test_last)):
        if evaluation is None:
            continue
        examples = {key: values.numpy() for key, values in evaluation.examples.items()}
        found = [metric for metric in objective.metrics if metric.name in evaluation.metrics]
        rows += [_with_interval(_row(metric, phase, evaluation.metrics), examples) for metric in found]
    return rows


def _row(metric: Metric, phase: str, values: Mapping[str, float]) -> MeasurementRow:
    return MeasurementRow(
        measure=metric.name,
        phase=phase,
        value=values[metric.name],
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
    )


def _with_interval(row: MeasurementRow, examples: Mapping[str, Any]) -> MeasurementRow:
    try:
        score = quotient_of(row.measure, row.unit, examples)
    except ValueError:
        # A diverged model's nats may not be finite; its score stands without an interval.
        return row
    if score is None or row.value is None or not math.isclose(score.value, row.value, rel_tol=TOLERANCE):
        return row
    interval = score.interval()
    return row.model_copy(update={"low": interval.low, "high": interval.high})


def save_predictions(path: Path, trained: Outcome) -> None:
    """Save per-example values on test at the best step, and at the last where that is another, for paired tests."""
    last = None if trained.test_last is trained.test_best else trained.test_last

    def arrays(name: str, evaluation: Evaluation | None) -> dict[str, Any]:
        found = evaluation.examples if evaluation else {}
        return {f"{name}_{key}": _narrow(key, values.numpy()) for key, values in found.items()}

    with path.open("wb") as file:
        numpy.savez_compressed(file, **arrays("best", trained.test_best), **arrays("last", last))


def _narrow(name: str, values: Any) -> Any:
    """Return whole numbers in the smallest type that holds them all; anything else as it is."""
    if name not in NARROW or values.dtype == bool or not len(values):
        return values
    return values.astype(
        numpy.promote_types(*(numpy.min_scalar_type(int(end)) for end in (values.min(), values.max())))
    )
