"""A study of many tasks in a few sentences: who keeps the baseline's quality at what cost, and what tells nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from attention_arena.report.derived.comparisons import BETTER, WORSE
from attention_arena.report.derived.summary import Summaries, TaskSummary
from attention_arena.report.wording.cost_words import Cost, cost_of
from attention_arena.report.wording.numbers import fixed, ratio
from attention_arena.report.wording.phrases import listed

MOST_NAMED = 3
"""Variants, or tasks, that a sentence names one by one; of more it says how many."""


class Standing(NamedTuple):
    """How a variant compares with the baseline: verdicts over tasks, and the cost of training."""

    label: str
    better: int
    worse: int
    total: int
    """Tasks on which it was compared."""
    short: float
    """By how many points its mean is below the baseline's at most; 0 where it is not below, or not in points."""
    cost: Cost | None


def brief_answer(summaries: Summaries) -> list[str]:
    """Return at most three sentences; without any comparison, the first says who scores best on how many tasks."""
    standings = _standings(summaries)
    silent = _silent(summaries)
    if not standings:
        return [each for each in (_leaders(summaries), silent) if each]
    keepers = _keepers(standings)
    kept = _kept(summaries, keepers)
    return [each for each in (kept, _cheapest(summaries, standings, keepers, kept), silent) if each]


def _standings(summaries: Summaries) -> list[Standing]:
    found = []
    for label in summaries.labels:
        verdicts = [cell.verdict for cell in summaries.of_label(label) if cell.verdict and cell.verdict.word]
        words = [verdict.word for verdict in verdicts]
        points = [-(verdict.difference or 0.0) for verdict in verdicts if verdict.unit == "points"]
        if words:
            counts = (words.count(BETTER), words.count(WORSE), len(words))
            found.append(Standing(label, *counts, max([0.0, *points]), cost_of(summaries, label)))
    return found


def _keepers(standings: Sequence[Standing]) -> list[Standing]:
    """Return those that are worse on the fewest tasks, compared on the most, by rising cost."""
    first = min(standings, key=lambda each: (each.worse, -each.total))
    alike = [each for each in standings if (each.worse, each.total) == (first.worse, first.total)]
    return sorted(alike, key=lambda each: each.cost.time if each.cost else float("inf"))


def _kept(summaries: Summaries, keepers: Sequence[Standing]) -> str:
    first = keepers[0]
    names = [summaries.said(each.label) for each in keepers]
    who = listed(names) if len(names) <= MOST_NAMED else f"{len(names)} variants"
    who += " is" if len(names) == 1 else " are"
    if first.worse:
        finding = f"shown worse than {summaries.said_baseline} on the fewest tasks, {first.worse} of {first.total}"
    else:
        tasks = f"any of {first.total} tasks" if first.total > 1 else "the one task compared"
        finding = f"not shown worse than {summaries.said_baseline} on {tasks}"
    return f"{_scope(summaries)}{who} {finding}{_beside(summaries, keepers)}."


def _scope(summaries: Summaries) -> str:
    """Say where verdicts are about single trained models."""
    seeds = [cell.verdict.n_seeds for cell in summaries.cells.values() if cell.verdict and cell.verdict.word]
    return "With one seed, " if max(seeds) == 1 else ""


def _beside(summaries: Summaries, keepers: Sequence[Standing]) -> str:
    """Say what follows the finding: of one variant its shortfall, its gains and its cost, of a few their costs."""
    first = keepers[0]
    costs = [each.cost for each in keepers if each.cost is not None]
    if len(keepers) == 1:
        parts = [f" (at most {fixed(first.short, 1)} points below it)" if round(first.short, 1) else ""]
        parts += [f" and better on {first.better}" if first.better else ""]
        return "".join(parts) + (f", at {first.cost.told}" if first.cost else "")
    if len(keepers) > MOST_NAMED:
        return f"; of these {summaries.said(first.label)} takes the least time, {first.cost.told}" if first.cost else ""
    if len(costs) < len(keepers) or len({cost.of for cost in costs}) > 1:
        return ""
    return f", at {listed([ratio(cost.value) for cost in costs])} {costs[0].of}"


def _cheapest(summaries: Summaries, standings: Sequence[Standing], keepers: Sequence[Standing], before: str) -> str:
    """Say who trained fastest at what loss, unless the sentence before has said so."""
    timed = [(each.cost, each) for each in standings if each.cost is not None]
    if not timed:
        return ""
    cost, least = min(timed, key=lambda pair: pair[0].time)
    if cost.time >= 1:
        return f"None trained faster than {summaries.said_baseline}."
    if least in keepers:
        return ""
    loss = f"is shown worse on {least.worse}" if least.worse else "was compared on"
    told = cost._replace(of="").told if cost.of in before else cost.told
    of = f"{' of' if least.worse else ''} {least.total} task{'s' if least.total > 1 else ''}"
    return f"{summaries.said(least.label)} trained fastest, at {told}, and {loss}{of}."


def _silent(summaries: Summaries) -> str:
    """Name the tasks on which no variant is clearly above what needs no model."""
    judged = [task for task in summaries.tasks if task.trivial and summaries.best(task) is not None]
    silent = [task for task in judged if not _says_something(summaries, task)]
    if not silent:
        return ""
    few = len(silent) <= MOST_NAMED + 1
    where = listed([task.label for task in silent]) if few else f"{len(silent)} of {len(summaries.tasks)} tasks"
    subject = "it says" if len(silent) == 1 else "they say"
    return (
        f"On {where} no variant is shown to beat even half of the scores that need no model: {subject} nothing of "
        "quality."
    )


def _says_something(summaries: Summaries, task: TaskSummary) -> bool:
    beaten = [len(task.trivial) - len(task.unbeaten(cell.score)) for cell in summaries.of_task(task) if cell.score]
    return 2 * max(beaten) >= len(task.trivial)


def _leaders(summaries: Summaries) -> str:
    """Say who scores best on how many tasks, where nothing was compared."""
    best = [cell.label for task in summaries.tasks if (cell := summaries.best(task)) is not None]
    led = sorted(dict.fromkeys(best), key=lambda label: -best.count(label))
    first, *others = [f"{summaries.said(label)} scores best on {best.count(label)}" for label in led]
    rest = [each.replace(" scores best", "", 1) for each in others[:MOST_NAMED]]
    return f"{', '.join([f'{first} of {len(best)} tasks', *rest])}; nothing was compared example by example."
