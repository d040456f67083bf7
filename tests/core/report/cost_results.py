"""Results of a study of cost, made of formulas: milliseconds or bytes of one sequence of n tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from attention_arena.report.reading.results import (
    BASELINE_COLUMNS,
    CURVE_COLUMNS,
    MEASUREMENT_COLUMNS,
    RUN_COLUMNS,
    SOURCE_COLUMNS,
    Results,
)
from attention_arena.runs.record import Claim, MeasurementRow, Record, StudyFile

LENGTHS = tuple(512 * 2**k for k in range(6))
TOKENS_PER_STEP = 16384
Cost = Callable[[int], float]


class Costly(NamedTuple):
    """A variant of the study: what a sequence costs, and the lengths at which it has a status instead."""

    label: str
    cost: Cost
    variant: str = ""
    claim: tuple[float, float] | None = None
    stops: Mapping[int, str] = {}
    status: str = "done"
    """Of the whole run."""
    spread: float | None = None
    """The interval reaches from value / spread to value * spread."""


def cost_results(
    variants: Sequence[Costly],
    *,
    task: str = "listops",
    measure: str = "step_time",
    phases: Sequence[str] = ("training",),
    lengths: Sequence[int] = LENGTHS,
    timed_together: Mapping[str, Cost] | None = None,
    references: Sequence[str] = (),
    tokens_per_step: int = TOKENS_PER_STEP,
) -> Results:
    """Return results in which the first variant is the baseline; `timed_together`: label -> ratio to it."""
    runs: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for place, each in enumerate(variants):
        name = {"study": "costs", "profile": "laptop", "run": f"{task}.{place}", "task": task, "task_options": "{}"}
        name |= {"variant": each.variant or each.label, "label": each.label, "seed": 0}
        runs.append(dict.fromkeys(Record.model_fields) | name | {"baseline": place == 0, "status": each.status})
        if each.status != "done":
            continue
        for phase in phases:
            for n in lengths:
                size = max(1, tokens_per_step // n)
                ratio = (timed_together or {}).get(each.label)
                made = [_row(each, measure, phase, n, size, each.cost(n) * size)]
                made += [_row(each, "time_ratio", phase, n, size, ratio(n))] if ratio else []
                rows += [name | row.model_dump() for row in made]
    claims = {v.label: Claim(time=v.claim[0], memory=v.claim[1], at_most=False) for v in variants if v.claim}
    study = StudyFile(
        study="costs", profile="laptop", question="", text="", runs=[], claims=claims, references=list(references)
    )
    empty = [pl.DataFrame(schema=columns) for columns in (CURVE_COLUMNS, BASELINE_COLUMNS, SOURCE_COLUMNS)]
    return Results(pl.DataFrame(runs, RUN_COLUMNS), pl.DataFrame(rows, MEASUREMENT_COLUMNS), *empty, [study], [])


def _row(each: Costly, measure: str, phase: str, n: int, size: int, value: float) -> MeasurementRow:
    status = each.stops.get(n, "done")
    known = status == "done"
    interval = known and each.spread is not None
    return MeasurementRow(
        measure=measure,
        phase=phase,
        length=n,
        batch_size=size,
        value=value if known else None,
        low=value / (each.spread or 1.0) if interval else None,
        high=value * (each.spread or 1.0) if interval else None,
        unit="×" if measure == "time_ratio" else "bytes" if measure != "step_time" else "ms",
        samples=6,
        status=status,  # type: ignore[arg-type]
        detail=None if known else f"{status} at {n}",
    )
