"""Exponents and break-even lengths as the page shows them: for each task a table of each, variants down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import polars as pl

from attention_arena.report.derived.break_even import break_evens, rivals
from attention_arena.report.derived.costs import COSTS
from attention_arena.report.derived.growth import growth
from attention_arena.report.reading.results import Results
from attention_arena.report.wording.numbers import fixed

UNUSUAL = ("above the claim", "below the claim")
"""Verdicts that a cell says; the others can be seen from the claim beside it."""


class GrowthCell(NamedTuple):
    """A number or a reason, what stands smaller beside it, and a remark."""

    text: str
    beside: str = ""
    flag: str = ""
    is_reason: bool = False
    value: float | None = None


class GrowthTable(NamedTuple):
    """One task's table."""

    task: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[GrowthCell]]]
    """A label and its cells."""


def exponent_tables(results: Results) -> list[GrowthTable]:
    """Return, task by task, the claimed powers and the fitted exponent of each cost that was measured."""
    [study] = results.studies
    variants = dict(results.runs.select("label", "variant").iter_rows())
    tables = []
    for task, rows in _by_task(growth(results)):
        costs = rows.select("measure", "phase").unique(maintain_order=True).rows()
        body = []
        for label in rows["label"].unique(maintain_order=True):
            claim = study.claims.get(label)
            bound = "≤ " if claim is not None and claim.at_most else ""
            claimed = "" if claim is None else f"{bound}{claim.time:g}, {bound}{claim.memory:g}"
            cells = [_exponent(_only(rows, label=label, measure=measure, phase=phase)) for measure, phase in costs]
            body.append((label, [GrowthCell(claimed, study.complexity.get(variants[label], "")), *cells]))
        columns = ["claimed: time, memory", *(_title(measure, phase) for measure, phase in costs)]
        tables.append(GrowthTable(task, columns, body))
    return tables


def break_even_tables(results: Results) -> list[GrowthTable]:
    """Return, task by task, the break-even lengths of time against each rival."""
    tables = []
    for task, rows in _by_task(break_evens(results).filter(pl.col("measure") == "step_time")):
        phases = rows["phase"].unique(maintain_order=True)
        pairs = [(phase, rival) for phase in phases for rival in rivals(results) if rival in set(rows["against"])]
        body = []
        for label in rows["label"].unique(maintain_order=True):
            found = [_only(rows, label=label, phase=phase, against=against) for phase, against in pairs]
            body.append(
                (label, [GrowthCell(row["words"], value=row["break_even"]) if row else GrowthCell("") for row in found])
            )
        tables.append(GrowthTable(task, [f"{phase}, against {against}" for phase, against in pairs], body))
    return tables


def _by_task(frame: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    tasks = frame["task"].unique(maintain_order=True)
    return [(task, frame.filter(pl.col("task") == task)) for task in tasks]


def _only(rows: pl.DataFrame, **key: str) -> dict[str, Any] | None:
    found = rows.filter(**key).to_dicts()
    return found[0] if found else None


def _title(measure: str, phase: str) -> str:
    title = COSTS[measure].title
    return title if measure == "saved_for_backward" else f"{title}, {phase}"


def _exponent(row: dict[str, Any] | None) -> GrowthCell:
    if row is None:
        return GrowthCell("")
    stop = "" if row["stopped_at"] is None else f"{row['stopped_by']} at {row['stopped_at']:,}"
    if row["exponent"] is None:
        return GrowthCell(row["verdict"], flag="" if row["verdict"] == row["stopped_by"] else stop, is_reason=True)
    own = _ends(row["own_low"], row["own_high"])
    own = "" if row["own_exponent"] is None else f"attention alone {fixed(row['own_exponent'], 2)} {own}".rstrip()
    flags = [row["verdict"] if row["verdict"] in UNUSUAL else "", stop]
    beside = "; ".join(part for part in (_ends(row["low"], row["high"]), own) if part)
    flag = "; ".join(flag for flag in flags if flag)
    return GrowthCell(fixed(row["exponent"], 2), beside, flag, value=row["exponent"])


def _ends(low: float | None, high: float | None) -> str:
    """Return an interval, unless it is no wider than what is written of the value, as that of counted bytes is."""
    if low is None or high is None or fixed(low, 2) == fixed(high, 2):
        return ""
    return f"[{fixed(low, 2)}, {fixed(high, 2)}]"
