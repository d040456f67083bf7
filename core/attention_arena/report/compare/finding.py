"""One line of a comparison: what was compared, what it came to, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from attention_arena.statistics import LEVEL, Comparison, holm

IMPROVED, GOT_WORSE, NO_DIFFERENCE = "improved", "got worse", "no difference shown"
ONLY_THERE, ONLY_HERE, NOT_COMPARABLE = "only in the first", "only in the other", "not comparable"
WORST_FIRST = (GOT_WORSE, ONLY_THERE, NOT_COMPARABLE, NO_DIFFERENCE, ONLY_HERE, IMPROVED)
"""All verdicts, in the order in which they are listed."""
CHANGED = (GOT_WORSE, IMPROVED)
Kind = Literal["score", "metric", "diagnostic", "cost"]
KINDS: Mapping[Kind, str] = {
    "score": "scores",
    "metric": "other metrics",
    "diagnostic": "diagnostics",
    "cost": "costs",
}
"""Kind -> what several are called, in the order in which they are listed. A score is by the task's first metric; other
metrics are the task's further ones on test, and all of them under each protocol."""


@dataclass(frozen=True)
class Finding:
    """What one figure of a variant on a task is on both sides. `mine` is the other side's, `theirs` the first's."""

    kind: Kind
    task: str
    """As reports name it, with a mark where the data are not the official ones."""
    label: str
    what: str
    """`accuracy`, `perplexity, cached`, or `step_time, training`."""
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
        if self.found is not None:
            change = math.log(self.found.difference) if self.ratio else self.found.difference
        elif self.ratio and self.theirs and self.mine:
            change = math.log(self.mine / self.theirs)
        else:
            return None
        return change if self.higher_is_better else -change


def decided(sides: Sequence[Sequence[Finding]]) -> list[list[Finding]]:
    """Return each side's findings with p after Holm's correction, and the verdicts that follow, worst first.

    Each kind is one family of comparisons, over all sides: a study measures many more costs than scores, which would
    otherwise drown a score's difference.
    """
    everything = [each for findings in sides for each in findings]
    adjusted = {kind: iter(holm([_p(each) for each in everything if _is_tested(each, kind)])) for kind in KINDS}
    return [sorted((_told(each, adjusted[each.kind]) for each in findings), key=_order) for findings in sides]


def _is_tested(finding: Finding, kind: Kind) -> bool:
    return finding.kind == kind and finding.is_open


def _p(finding: Finding) -> float:
    assert finding.found is not None
    return finding.found.p


def _told(finding: Finding, adjusted: Iterator[float]) -> Finding:
    return _with_verdict(finding, next(adjusted)) if finding.is_open else _without(finding)


def _with_verdict(finding: Finding, p_adjusted: float) -> Finding:
    change = finding.change
    shown = p_adjusted < 1 - LEVEL and change is not None
    verdict = NO_DIFFERENCE if not shown else IMPROVED if (change or 0) > 0 else GOT_WORSE
    return replace(finding, p_adjusted=p_adjusted, verdict=verdict)


def _without(finding: Finding) -> Finding:
    return finding if finding.verdict else replace(finding, verdict=NO_DIFFERENCE)


def _order(finding: Finding) -> tuple[Any, ...]:
    """Return what findings are listed by: the worst verdict first, then kinds, then the largest change.

    Before any change comes what has none to measure, such as a run that fails.
    """
    verdict = finding.verdict or NO_DIFFERENCE
    change = -math.inf if finding.change is None else finding.change * (-1 if verdict == IMPROVED else 1)
    return WORST_FIRST.index(verdict), list(KINDS).index(finding.kind), change


def counts(findings: Sequence[Finding], names: Mapping[str, str]) -> str:
    """Return `2 got worse, 1 improved`; `names` has the words of a verdict where they are others."""
    found = {verdict: sum(each.verdict == verdict for each in findings) for verdict in WORST_FIRST}
    return ", ".join(f"{n} {names.get(verdict, verdict)}" for verdict, n in found.items() if n) or "nothing to compare"
