"""The protocols of evaluation, and which of them a task and a variant allow."""

from __future__ import annotations

from functools import partial

from pydantic import Field

from attention_arena.measure import Subject
from attention_arena.measures.passes import UnsupportedError
from attention_arena.measures.perplexity.readings import Readings, cached, chunks, own_windows, sliding
from attention_arena.measures.perplexity.text import TextOptions, carries_state
from attention_arena.splits import Tokens


class BeginningOptions(TextOptions):
    """A split of whose beginning so many tokens are scored."""

    max_tokens: int | None = Field(
        65_536,
        ge=1,
        description="first tokens of the split to score, the same ones under every protocol and for every variant; "
        "null scores them all",
    )

    def beginning_of(self, subject: Subject, connected: bool = False) -> Tokens:
        """Return the tokens that are scored and the one before them; see `text_of`."""
        text = self.text_of(subject, connected)
        return text if self.max_tokens is None else text[: self.max_tokens + 1]


def chunked(options: BeginningOptions, subject: Subject) -> Readings:
    """Return windows side by side; the task's own windows where it predicts tokens from both sides."""
    split = options.split_of(subject)
    if not subject.data.objective.causal:
        return partial(own_windows, split, subject.length, options.max_tokens)
    return partial(chunks, options.beginning_of(subject), subject.length)


def slid(options: BeginningOptions, subject: Subject, stride: int) -> Readings:
    """Return windows that begin `stride` tokens apart; raises UnsupportedError where they leave gaps."""
    text = options.beginning_of(subject, connected=True)
    if stride > subject.length:
        raise UnsupportedError(
            f"a stride of {stride} leaves tokens between windows of {subject.length} unscored; give {subject.length} "
            "or less"
        )
    return partial(sliding, text, subject.length, stride)


def continued(options: BeginningOptions, subject: Subject) -> Readings:
    """Return segments that continue each other; raises UnsupportedError where the variant carries no state."""
    text = options.beginning_of(subject, connected=True)
    if not carries_state(subject):
        raise UnsupportedError(f"{subject.contender.variant.name} carries no state from one segment to the next")
    return partial(cached, text, subject.length)
