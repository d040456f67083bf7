"""A finding's numbers as text."""

from __future__ import annotations

from attention_arena.report.compare.against import change_unit
from attention_arena.report.compare.finding import Finding
from attention_arena.report.derived.summary import Verdict
from attention_arena.report.rows.score_cells import difference, p_value
from attention_arena.report.wording.numbers import count, decimals_for, fixed, significant, size


def name_of(finding: Finding) -> str:
    """Return what was compared: `step time, training at 1,024 tokens`."""
    where = f" at {finding.length:,} tokens" if finding.length is not None else ""
    return f"{finding.what.replace('_', ' ')}{where}"


def value_of(finding: Finding, value: float | None) -> str:
    """Return one side's value with its unit."""
    if value is None:
        return "–"
    if finding.unit == "bytes":
        return size(value)
    if finding.kind == "score":
        unit = {"%": " %", None: ""}.get(finding.unit, "")
        return fixed(value, decimals_for([value], finding.unit == "%")) + unit
    if finding.unit in ("FLOPs", "parameters", "tokens", "sequences", "tokens/s"):
        return count(value) + ("/s" if finding.unit == "tokens/s" else "")
    return f"{significant(value)} {finding.unit or ''}".rstrip()


def change_of(finding: Finding) -> str:
    """Return the change with its interval: `+1.2 points [0.3, 2.1]`, `1.25× [1.21, 1.30]`."""
    found = finding.found
    if found is None:
        if finding.theirs and finding.mine and finding.kind == "cost":
            return f"{significant(finding.mine / finding.theirs)}×"
        return ""
    told = Verdict(None, None, found.difference, found.low, found.high, change_unit(finding), None, found.n_seeds)
    return difference(told)


def p_of(finding: Finding) -> str:
    """Return p after Holm's correction."""
    return p_value(finding.p_adjusted)
