"""The columns of a comparison's numbers, `compare.csv`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from attention_arena.report.compare.finding import Finding

COLUMNS: Mapping[str, Any] = {
    "first": pl.String,
    "other": pl.String,
    "kind": pl.String,
    "task": pl.String,
    "label": pl.String,
    "what": pl.String,
    "length": pl.Int64,
    "unit": pl.String,
    "value_first": pl.Float64,
    "value_other": pl.Float64,
    "change": pl.Float64,
    "change_unit": pl.String,
    "low": pl.Float64,
    "high": pl.Float64,
    "p": pl.Float64,
    "p_adjusted": pl.Float64,
    "n_seeds": pl.Int64,
    "verdict": pl.String,
    "reason": pl.String,
}
MEANINGS: Mapping[str, str] = {
    "first": "path of the side that all others are compared with",
    "other": "path of the side that is compared with it",
    "kind": "score, of the task's first metric; metric, any other, also by protocol; diagnostic; or cost",
    "task": "the task, with a mark where its data are not the official ones",
    "label": "the variant",
    "what": "metric, or measure and phase or protocol; null where the variant has a task on one side alone",
    "length": "tokens, of what was measured at a length",
    "unit": "of the two values",
    "value_first": "mean over seeds; of costs, and of perplexities by protocol, the geometric mean",
    "value_other": "the same of the other side",
    "change": "other minus first, or other over first",
    "change_unit": "of change, low and high: points (of percent), the metric's unit, or × for a ratio",
    "low": "lower end of its 95 % interval, not adjusted for the number of comparisons",
    "high": "upper end",
    "p": "two-sided p of no change",
    "p_adjusted": "p after Holm's correction over all of its kind, on all sides that are compared at once",
    "n_seeds": "seeds behind the change",
    "verdict": "improved, got worse, no difference shown, only in the first, only in the other, not comparable",
    "reason": "why there is no verdict, or what limits it",
}


def row_of(finding: Finding) -> dict[str, Any]:
    """Return a finding's row, without the paths of the sides."""
    found = finding.found
    return {
        **{name: getattr(finding, name) for name in ("kind", "task", "label", "length", "unit", "p_adjusted")},
        "what": finding.what or None,
        "value_first": finding.theirs,
        "value_other": finding.mine,
        "change": found.difference if found else None,
        "change_unit": change_unit(finding) if found else None,
        "low": found.low if found else None,
        "high": found.high if found else None,
        "p": found.p if found else None,
        "n_seeds": found.n_seeds if found else None,
        "verdict": finding.verdict,
        "reason": finding.reason or None,
    }


def change_unit(finding: Finding) -> str | None:
    """Return the unit of a change: of percent it is points."""
    if finding.ratio:
        return "×"
    return "points" if finding.unit == "%" else finding.unit
