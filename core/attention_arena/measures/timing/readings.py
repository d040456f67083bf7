"""What a settled contest says in rows: values with intervals, or why there are none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from attention_arena.measure import Measurement
from attention_arena.measures.timing.compilation import Compilation
from attention_arena.measures.timing.contest import Contest
from attention_arena.measures.timing.medians import series_interval


def own_reading(row: Measurement, contest: Contest, convert: Callable[[float], float]) -> Measurement:
    """Fill a row with what `convert` makes of the seconds of a call of the run's own work."""
    if contest.own.reason is not None:
        return row.without(*contest.own.reason)
    return _filled(row, [convert(seconds) for seconds in contest.own_seconds()])


def ratio_reading(row: Measurement, contest: Contest, label: str) -> Measurement:
    """Fill a row with own time over that of the baseline called `label`, or why there is no such number."""
    if contest.own.reason is not None:
        return row.without(*contest.own.reason)
    assert contest.baseline is not None, "without a baseline there is no such row"
    if contest.baseline.reason is not None:
        status, detail = contest.baseline.reason
        return row.without(status, f"{label}, the baseline: {detail}")
    return _filled(row, contest.ratios())


def compile_reading(row: Measurement, contest: Contest) -> Measurement:
    """Fill a row with what the call that compiled the run's own work took beyond a later one, in seconds."""
    assert isinstance(contest.own.prepare, Compilation), "what is not compiled has no such row"
    if contest.own.reason is not None:
        return row.without(*contest.own.reason)
    assert contest.own.prepare.first_call is not None
    return row._replace(value=contest.own.prepare.first_call - median(contest.own_seconds()), samples=1)


def _filled(row: Measurement, samples: Sequence[float]) -> Measurement:
    found = series_interval(samples)
    return row._replace(value=found.median, low=found.low, high=found.high, samples=len(samples))
