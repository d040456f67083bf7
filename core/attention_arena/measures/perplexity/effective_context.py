"""How much context a language model makes use of: its loss on the same tokens, given more and more of what precedes.

The measure stands on one model. The relative effective context length (RECL; Dai et al. 2019, section 4.3) compares a
group of models with the best of them token by token; the report derives it from the losses that are saved here. As in
RECL the gain is that of perplexity, relative, on the same tokens, and too small below 1 %. Other than in RECL all
tokens count, not those that are hardest for the group; and a context is long enough only when no longer one gains, not
when the next one does not, because a model may use a token far back and none between.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from pydantic import Field
from torch import Tensor

from attention_arena.measure import Measure, Measurement, Subject
from attention_arena.measures.passes import rows_or_reason
from attention_arena.measures.perplexity.contexts import context_lengths, longest_for_all, losses_by_context, targets_of
from attention_arena.measures.perplexity.text import TextOptions, carries_state
from attention_arena.statistics.series import series_interval


class EffectiveContextOptions(TextOptions):
    """Options of the measure of effective context."""

    max_tokens: int = Field(
        1024, ge=2, description="tokens to predict, spread evenly over the split; the same ones for every variant"
    )
    max_context: int | None = Field(
        None,
        ge=2,
        description="longest context in tokens; beyond the task's length for variants that carry state alone; null is "
        "4 lengths, or as many as half the split holds",
    )
    gain: float = Field(
        0.01, gt=0, lt=1, description="share of perplexity that a longer context must save to count as an improvement"
    )

    @property
    def key(self) -> str:
        """What tells the arrays of this measure from those of the same one with other options."""
        return (
            f"{self.split}-{self.max_tokens}-{self.max_context or 'default'}-{self.gain:g}-{self.batch_size or 'own'}"
        )


def measure_effective_context(options: EffectiveContextOptions, subject: Subject) -> Sequence[Measurement]:
    """Return the loss given each length of context, and the shortest context that no longer one improves on.

    A row's `position` is the context in tokens. `samples` are predicted tokens. What compares models token by token is
    saved beside the rows: `context_lengths` (C,), `context_targets` (N,) in the text, `context_losses` (C, N) in nats.
    """
    blank = Measurement("effective_context", options.phase(f"gain {options.gain:.3g}"), None, "tokens", subject.length)
    return rows_or_reason([blank], partial(_measure, options, subject, blank))


def _measure(options: EffectiveContextOptions, subject: Subject, blank: Measurement) -> Sequence[Measurement]:
    text = options.text_of(subject, connected=True)
    longest = longest_for_all(options.max_context, subject.length, len(text))
    targets = targets_of(len(text), longest, options.max_tokens)
    contexts = context_lengths(subject.length, longest if carries_state(subject) else min(longest, subject.length))
    losses = losses_by_context(subject, text, targets, contexts, options.rows(subject))
    for name, array in (("lengths", np.array(contexts)), ("targets", targets), ("losses", losses.float().numpy())):
        subject.save(f"context_{name}.{options.key}", array)
    rows = [_loss_row(options, subject, context, each) for context, each in zip(contexts, losses, strict=True)]
    return [*rows, _effective_row(blank, effective_context(contexts, losses, options.gain), len(targets))]


def _loss_row(options: EffectiveContextOptions, subject: Subject, context: int, nats: Tensor) -> Measurement:
    mean, low, high, n, _ = series_interval(nats)
    row = Measurement("loss_by_context", options.phase("context"), mean, "nats", subject.length, position=context)
    return row._replace(low=low, high=high, samples=n, higher_is_better=False)


class EffectiveContext(NamedTuple):
    """The shortest context that no longer one improves on, in tokens, and its 95 % interval."""

    tokens: int
    low: int
    high: int | None
    """None where it may be beyond the longest context."""
    last_gain: float | None
    """What the longest context gains on the one before it, where that is an improvement still."""


def effective_context(contexts: Sequence[int], losses: Tensor, gain: float) -> EffectiveContext:
    """Judge losses (C, N) in nats on N tokens, given each of C contexts.

    A context is improved on where a longer one lowers perplexity by the share `gain` or more. The interval's ends are
    the shortest contexts that are not improved on for certain, and for certain not improved on, by the t intervals of
    the differences token by token.
    """
    last = len(contexts) - 1

    def shortest(bound: int) -> int:
        def improved(i: int) -> bool:
            return any(_gain(losses[i], losses[j])[bound] >= gain for j in range(i + 1, last + 1))

        return next(i for i in range(last + 1) if not improved(i))

    low, found, high = (shortest(bound) for bound in (0, 1, 2))
    last_gain = _gain(losses[last - 1], losses[last])[1] if found == last and last else None
    return EffectiveContext(contexts[found], contexts[low], contexts[high] if high < last else None, last_gain)


def _gain(short: Tensor, long: Tensor) -> tuple[float, float, float]:
    """Return low end, value and high end of the share of perplexity that the longer context saves."""
    saved, low, high, *_ = series_interval(short - long)
    assert low is not None
    assert high is not None
    return -math.expm1(-low), -math.expm1(-saved), -math.expm1(-high)


def _effective_row(blank: Measurement, found: EffectiveContext, n_targets: int) -> Measurement:
    detail = None
    if found.last_gain is not None:
        detail = (
            f"at least {found.tokens}: the longest context that was measured still saves {found.last_gain:.1%} of "
            "perplexity on the one before it"
        )
    row = blank._replace(value=float(found.tokens), low=float(found.low), higher_is_better=None, detail=detail)
    return row._replace(high=None if found.high is None else float(found.high), samples=n_targets)


EFFECTIVE_CONTEXT = Measure(
    name="effective_context",
    summary="a language model's loss given 1, 2, 4, ... tokens of context, and where more stops to help",
    options=EffectiveContextOptions,
    run=measure_effective_context,
    needs_training=True,
)
