"""One line of a comparison: what was compared, what it came to, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from attention_arena.statistics import LEVEL, Comparison, holm

IMPROVED, GOT_WORSE, NO_DIFFERENCE = "improved", "got worse", "no difference shown"
ONLY_THERE, ONLY_HERE, NOT_COMPARABLE = "only in the first", "only in the other", "not comparable"
WORST_FIRST = (GOT_WORSE, ONLY_THERE, NOT_COMPARABLE, NO_DIFFERENCE, ONLY_HERE, IMPROVED)
"""All verdicts, in the order in which they are listed."""
Kind = Literal["score", "cost"]


@dataclass(frozen=True)
class Finding:
    """A variant's score or cost on a task, on both sides. `mine` is the other side's, `theirs` the first's."""

    kind: Kind
    task: str
    """As reports name it, with a mark where the data are not the official ones."""
    label: str
    what: str
    """`accuracy`, or `step_time, training`."""
    length: int | None = None
    unit: str | None = None
    theirs: float | None = None
    mine: float | None = None
    higher_is_better: bool | None = None
    ratio: bool = False
    """Whether `found` is a ratio rather than a difference."""
    found: Comparison | None = None
    verdict: str | None = None
    """Set at once where no statistics decide; see `decided` for the others."""
    p_adjusted: float | None = None
    reason: str = ""
    """Why there is no verdict, or what limits it."""

    @property
    def is_open(self) -> bool:
        """Whether statistics decide its verdict."""
        return self.verdict is None and self.found is not None

    @property
    def change(self) -> float | None:
        """How large the change is, as the logarithm of a ratio or the difference; positive is better."""
        if self.found is None:
            return None
        change = math.log(self.found.difference) if self.ratio else self.found.difference
        return change if self.higher_is_better else -change


def decided(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings with p after Holm's correction, and the verdicts that follow, worst first.

    Scores are one family of comparisons and costs another: a study measures many more costs than scores, which would
    otherwise drown a score's difference.
    """
    finished: list[Finding] = []
    for kind in ("score", "cost"):
        mine = [each for each in findings if each.kind == kind]
        adjusted = iter(holm([each.found.p for each in mine if each.found is not None and each.is_open]))
        finished += [_with_verdict(each, next(adjusted)) if each.is_open else _without(each) for each in mine]
    return sorted(finished, key=_order)


def _with_verdict(finding: Finding, p_adjusted: float) -> Finding:
    change = finding.change
    shown = p_adjusted < 1 - LEVEL and change is not None
    verdict = NO_DIFFERENCE if not shown else IMPROVED if (change or 0) > 0 else GOT_WORSE
    return replace(finding, p_adjusted=p_adjusted, verdict=verdict)


def _without(finding: Finding) -> Finding:
    return finding if finding.verdict else replace(finding, verdict=NO_DIFFERENCE)


def _order(finding: Finding) -> tuple[Any, ...]:
    change = finding.change
    return (
        WORST_FIRST.index(finding.verdict or NO_DIFFERENCE),
        finding.kind == "cost",
        0.0 if change is None else change,
    )


def counts(findings: Sequence[Finding], names: Mapping[str, str]) -> str:
    """Return `2 got worse, 1 improved`; `names` has the words of a verdict where they are others."""
    found = {verdict: sum(each.verdict == verdict for each in findings) for verdict in WORST_FIRST}
    return ", ".join(f"{n} {names.get(verdict, verdict)}" for verdict, n in found.items() if n) or "nothing to compare"
