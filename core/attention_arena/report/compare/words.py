"""A finding's numbers as text."""

from __future__ import annotations

from collections.abc import Sequence

from attention_arena.report.compare.columns import change_unit
from attention_arena.report.compare.finding import Finding
from attention_arena.report.derived.summary import Verdict
from attention_arena.report.rows.score_cells import difference, p_value
from attention_arena.report.wording.numbers import count, decimals_for, fixed, ratio, significant, size
from attention_arena.statistics import LEVEL

RULE = (
    f"What changed has p below {1 - LEVEL:.2g} after Holm’s correction over all of its line, "
    "or is counted, or is a failure on one side alone."
)


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
    if finding.kind in ("score", "metric"):
        return fixed(value, decimals_for([value], finding.unit == "%")) + (" %" if finding.unit == "%" else "")
    if finding.unit in ("FLOPs", "parameters", "tokens", "sequences", "tokens/s"):
        return count(value) + ("/s" if finding.unit == "tokens/s" else "")
    return f"{significant(value)} {finding.unit or ''}".rstrip()


def change_of(finding: Finding) -> str:
    """Return the change with its interval: `+1.2 points [0.3, 2.1]`, `1.25× [1.21, 1.30]`."""
    found, shift = finding.found, shift_of(finding)
    if found is None:
        return "" if shift is None else ratio(shift)
    told = Verdict(None, None, found.difference, found.low, found.high, change_unit(finding), None, found.n_seeds)
    return difference(told)


def shift_of(finding: Finding) -> float | None:
    """Return the change as a number, the ratio or the difference; None where there is none."""
    if finding.found is not None:
        return finding.found.difference
    return finding.mine / finding.theirs if finding.ratio and finding.mine and finding.theirs else None


def limits_of(findings: Sequence[Finding]) -> dict[str, str]:
    """Return the mark of each reason that limits a finding, in order; alike reasons have one: `(1)`."""
    reasons = dict.fromkeys(each.reason for each in findings if each.reason)
    return {reason: f"({place})" for place, reason in enumerate(reasons, 1)}


def p_of(finding: Finding) -> str:
    """Return p after Holm's correction."""
    return p_value(finding.p_adjusted)
