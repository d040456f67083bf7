"""Loss by position in the window: how much a prediction gains from what the window has before it.

Windows side by side predict their first tokens from next to nothing (context fragmentation, Dai et al. 2019, section
3.1); segments that carry state do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from attention_arena.measure import Measure, Measurement, Subject
from attention_arena.measures.passes import UnsupportedError, rows_or_reason
from attention_arena.measures.perplexity.protocols import BeginningOptions, chunked, continued
from attention_arena.measures.perplexity.readings import Readings
from attention_arena.measures.perplexity.scoring import Scored, score
from attention_arena.statistics.series import series_interval

BINS_PER_DOUBLING = 2


class LossByPositionOptions(BeginningOptions):
    """Options of the measure of loss by position."""

    protocols: list[Literal["chunks", "cached"]] = Field(
        ["chunks"], min_length=1, description="windows side by side, or segments that carry state"
    )


def measure_loss_by_position(options: LossByPositionOptions, subject: Subject) -> Sequence[Measurement]:
    """Return the mean nats per token in bins of positions, each with its interval over blocks of windows.

    A row's `position` is the first of its bin, counted from 0; the bin ends where the next row's begins, the last one
    at the window's end. `samples` are windows.
    """
    known: Mapping[str, Callable[[BeginningOptions, Subject], Readings]] = {"chunks": chunked, "cached": continued}
    rows: list[Measurement] = []
    for protocol in options.protocols:
        blank = Measurement("loss_by_position", options.phase(protocol), None, "nats", subject.length)
        rows += rows_or_reason([blank], partial(_measure, options, subject, blank, known[protocol]))
    return rows


def _measure(
    options: LossByPositionOptions,
    subject: Subject,
    blank: Measurement,
    protocol: Callable[[BeginningOptions, Subject], Readings],
) -> Sequence[Measurement]:
    # A position in a window of which both sides are seen has no context of its own.
    options.text_of(subject)
    readings = protocol(options, subject)(options.rows(subject))
    windows = whole_windows(score(subject, readings), subject.length)
    if not len(windows):
        raise UnsupportedError(f"the {options.split} split has no whole window of {subject.length} tokens")
    return by_position(windows, blank._replace(higher_is_better=False))


def whole_windows(scores: Iterable[Scored], length: int) -> Tensor:
    """Return the nats (W, length) of every window of which all targets are scored, in the order of the text."""
    found = [each for each in scores if each.shape[1] == length and _is_whole(each)]
    if not found:
        return torch.empty(0, length, dtype=torch.float64)
    begins = torch.cat([each.places.view(each.shape)[:, 0] for each in found])
    return torch.cat([each.nats.view(each.shape) for each in found])[begins.argsort()]


def _is_whole(each: Scored) -> bool:
    return len(each.nats) == each.shape[0] * each.shape[1]


def by_position(windows: Tensor, blank: Measurement) -> list[Measurement]:
    """Return a row for each bin of the positions of windows (W, T), filled into `blank`."""
    rows = []
    for start, stop in bins(windows.shape[1]):
        interval = series_interval(windows[:, start:stop].mean(dim=1))
        filled = blank._replace(value=interval.value, low=interval.low, high=interval.high)
        rows.append(filled._replace(position=start, samples=interval.n))
    return rows


def bins(length: int) -> list[tuple[int, int]]:
    """Return (first position, first of the next bin) of bins that cover positions 0 to `length` - 1.

    Position p has a context of p + 1 tokens; bins begin at contexts 1, 2, 3, 4, 6, 8, 11, 16, ..., two a doubling.
    """
    contexts = {round(2 ** (k / BINS_PER_DOUBLING)) for k in range(BINS_PER_DOUBLING * length.bit_length())}
    starts = sorted(context - 1 for context in contexts if context <= length)
    return list(zip(starts, [*starts[1:], length], strict=True))


LOSS_BY_POSITION = Measure(
    name="loss_by_position",
    summary="a language model's loss by position in its window, or in segments that carry state",
    options=LossByPositionOptions,
    run=measure_loss_by_position,
    needs_training=True,
)
