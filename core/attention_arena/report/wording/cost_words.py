"""What variants cost against the baseline, in words."""

from __future__ import annotations

from typing import NamedTuple

from attention_arena.report.derived.summary import Summaries, Summary
from attention_arena.report.derived.time_ratios import PHASES, TimeRatio
from attention_arena.report.rows.cost_cells import bracketed
from attention_arena.report.wording.numbers import ratio

ACTS = {"training": "a training step", "inference": "inference"}


class Cost(NamedTuple):
    """What training a variant costs beside the baseline."""

    time: float
    """Over the baseline's; the inverse of its throughput's where no time was measured by turns."""
    value: float
    """As it is told: the time, or the throughput, to the baseline's."""
    interval: str
    of: str
    """What the value is of: `the training time of softmax at 1,024 tokens`."""

    @property
    def told(self) -> str:
        """The value, its interval, and what it is of."""
        return " ".join(part for part in (ratio(self.value), self.interval, self.of) if part)


def cost_of(summaries: Summaries, label: str) -> Cost | None:
    """Return what training a variant costs over all tasks: by turns where measured, else by throughput."""
    timed = summaries.time_ratio(label, "training")
    if timed is not None:
        of = f"the training time of {summaries.said_baseline} at {timed.length:,} tokens"
        return Cost(timed.value, timed.value, bracketed(timed), of)
    speed = summaries.speed_ratio(label)
    return None if speed is None else Cost(1 / speed, speed, "", f"the throughput of {summaries.said_baseline}")


def time_beside(summaries: Summaries, cell: Summary) -> str:
    """Return what follows a score: the time of training to the baseline's; nothing for the baseline itself."""
    if cell.baseline:
        return ""
    timed = summaries.time_ratio(cell.label, "training", cell.task)
    if timed is not None:
        return f", at {_told(timed)} the training time of {summaries.said_baseline} at {timed.length:,} tokens"
    speed = summaries.speed_ratio(cell.label, cell.task)
    return "" if speed is None else f", at {ratio(speed)} the training throughput of {summaries.said_baseline}"


def speeds_in_words(summaries: Summaries) -> str:
    """Return a sentence on the time of training over all tasks: by turns where measured, else by throughput."""
    sentence = _at_length(summaries, "training", longest=True)
    if sentence:
        return sentence
    others = [label for label in summaries.labels if label != summaries.baseline]
    speeds = {label: speed for label in others if (speed := summaries.speed_ratio(label)) is not None}
    if not speeds:
        return ""
    slow, fast = min(speeds, key=lambda label: speeds[label]), max(speeds, key=lambda label: speeds[label])
    if slow == fast:
        return f"{summaries.said(fast)} trains at {ratio(speeds[fast])} the throughput of {summaries.said_baseline}."
    return (
        f"Against {summaries.said_baseline}, training throughput runs from "
        f"{ratio(speeds[slow])} ({summaries.said(slow)}) to {ratio(speeds[fast])} ({summaries.said(fast)})."
    )


def costs_in_words(summaries: Summaries) -> list[str]:
    """Return the headline of a study that trains nothing: time to the baseline's, at the longest length, by phase."""
    sentences = [_at_length(summaries, phase, longest=True) for phase in PHASES]
    found = [sentence for sentence in sentences if sentence]
    return found or ["This study trains nothing, and times no variant against a baseline; its costs are below."]


def _at_length(summaries: Summaries, phase: str, longest: bool) -> str:
    models = [label for label in summaries.labels if label not in summaries.references]
    found = [each for label in models if (each := summaries.time_ratio(label, phase, longest=longest))]
    if not found:
        return ""
    length = max(each.length for each in found)
    there = sorted((each for each in found if each.length == length), key=lambda each: each.value)
    least, most = there[0], there[-1]
    opening = f"At {length:,} tokens, {ACTS[phase]} takes "
    if least is most:
        return f"{opening}{summaries.said(least.label)} {_told(least)} the time of {summaries.said_baseline}."
    sentence = (
        f"{opening}from {_told(least)} ({summaries.said(least.label)}) to {_told(most)} "
        f"({summaries.said(most.label)}) the time of {summaries.said_baseline}"
    )
    return f"{sentence}; {_tally(there)}."


def _tally(ratios: list[TimeRatio]) -> str:
    """Say how many of the ratios are shown to lie below 1 or above it."""
    faster = sum(each.high is not None and each.high < 1 for each in ratios)
    slower = sum(each.low is not None and each.low > 1 for each in ratios)
    parts = [f"{n} of {len(ratios)} {word}" for n, word in ((faster, "faster"), (slower, "slower")) if n]
    if faster + slower < len(ratios):
        parts.append(f"no difference shown for {len(ratios) - faster - slower}")
    return ", ".join(parts)


def _told(timed: TimeRatio) -> str:
    return " ".join(part for part in (ratio(timed.value), bracketed(timed)) if part)
