"""The objective's metrics and the time per token, under each protocol of evaluation, over the same tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from attention_arena.measure import Measure, Measurement, Subject
from attention_arena.measures.passes import UnsupportedError, rows_or_reason
from attention_arena.measures.perplexity.protocols import BeginningOptions, chunked, continued, slid
from attention_arena.measures.perplexity.readings import Readings
from attention_arena.measures.perplexity.scoring import Losses, Scored, gather, score
from attention_arena.measures.timing.medians import median_interval
from attention_arena.statistics.series import series_interval
from attention_arena.task import Objective

Stride = Annotated[int, Field(ge=1)]
Choice = Callable[[], Readings]
"""Returns the readings, or raises UnsupportedError."""


class PerplexityOptions(BeginningOptions):
    """Options of the perplexity measure."""

    protocols: list[Literal["chunks", "sliding", "cached"]] = Field(
        ["chunks", "sliding", "cached"],
        min_length=1,
        description="windows side by side; overlapping windows; segments that carry state, for variants that have any",
    )
    stride: Stride | Annotated[list[Stride], Field(min_length=1)] | None = Field(
        None,
        description="tokens from one overlapping window to the next, or several such; null is a quarter of the length; "
        "1 gives every token its full context, at the cost of a window for each",
    )

    def strides(self, length: int) -> list[int]:
        """Return the strides for windows of `length` tokens."""
        if self.stride is None:
            return [max(1, length // 4)]
        return self.stride if isinstance(self.stride, list) else [self.stride]


def measure_perplexity(options: PerplexityOptions, subject: Subject) -> Sequence[Measurement]:
    """Return, under each protocol, every metric of the objective and the milliseconds per scored token."""
    try:
        options.split_of(subject)
    except UnsupportedError as error:
        return [Measurement("perplexity", options.split, None, "").without("unsupported", str(error))]
    first = subject.data.objective.metrics[0]
    rows: list[Measurement] = []
    for name, choice in _protocols(options, subject).items():
        blank = Measurement(first.name, options.phase(name), None, first.unit, subject.length)
        rows += rows_or_reason([blank], partial(_measure, options, subject, blank.phase, choice))
    return rows


def _protocols(options: PerplexityOptions, subject: Subject) -> Mapping[str, Choice]:
    """Return the protocols that are asked for by name."""
    strides = options.strides(subject.length)
    known: Mapping[str, Mapping[str, Choice]] = {
        "chunks": {"chunks": partial(chunked, options, subject)},
        "sliding": {f"sliding, stride {stride}": partial(slid, options, subject, stride) for stride in strides},
        "cached": {"cached": partial(continued, options, subject)},
    }
    return {name: choice for protocol in options.protocols for name, choice in known[protocol].items()}


def _measure(options: PerplexityOptions, subject: Subject, phase: str, choice: Choice) -> Sequence[Measurement]:
    scores = list(score(subject, choice()(options.rows(subject))))
    n_rows, _ = scores[0].shape
    quality = quality_rows(subject.data.objective, gather(scores), subject.length, phase)
    return [row._replace(batch_size=n_rows) for row in [*quality, time_row(scores, subject.length, phase)]]


def quality_rows(objective: Objective, losses: Losses, length: int, phase: str) -> list[Measurement]:
    """Return every metric, with the 95 % interval over blocks of the text where the nats decide it."""
    interval = series_interval(losses.nats)
    values = objective.summarise(losses.sums)

    def at(loss: float | None) -> Mapping[str, float]:
        return {} if loss is None else objective.summarise({**losses.sums, "nats": loss * losses.sums["tokens"]})

    lows, highs = at(interval.low), at(interval.high)
    rows = []
    for metric in objective.metrics:
        low, high = lows.get(metric.name), highs.get(metric.name)
        row = Measurement(metric.name, phase, values[metric.name], metric.unit, length)
        row = row._replace(higher_is_better=metric.higher_is_better, samples=len(losses.nats))
        rows.append(row if low == high else row._replace(low=low, high=high))
    return rows


def time_row(scores: Sequence[Scored], length: int, phase: str) -> Measurement:
    """Return the median milliseconds per scored token over readings of full size.

    The first reading is left out where there are others of its size: it chooses kernels, and has more to score, or
    nothing before it.
    """
    full = [each for each in scores[1:] if each.shape == scores[0].shape] or scores
    times = median_interval([1e3 * each.seconds / len(each.nats) for each in full])
    row = Measurement("evaluation_time", phase, times.median, "ms/token", length, higher_is_better=False)
    return row._replace(low=times.low, high=times.high, samples=len(full))


PERPLEXITY = Measure(
    name="perplexity",
    summary="a language model's metrics and time per token, in chunks, in sliding windows and with cached segments",
    options=PerplexityOptions,
    run=measure_perplexity,
    needs_training=True,
)
