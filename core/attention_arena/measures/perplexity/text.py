"""What of a split is read, so that every protocol and every variant scores the same tokens."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from attention_arena.measure import Subject
from attention_arena.measures.passes import UnsupportedError
from attention_arena.objectives.token_prediction import TokenPrediction
from attention_arena.splits import Tokens, stream_of
from attention_arena.task import Split
from attention_arena.variant import Capability, Options

NO_TOKENS = "the task predicts no tokens, so there is no perplexity"
BOTH_SIDES = "hidden tokens are predicted from both sides of a window, not each from those before it"
NO_TEXT = "the task's sequences are examples of their own, not windows of one text"


class TextOptions(Options):
    """Which split is read, and how many rows at a time."""

    split: Literal["test", "validation"] = Field("test", description="the split to read, from its beginning")
    batch_size: int | None = Field(
        None, ge=1, description="windows, or rows of text, at a time; null takes the study's batch size"
    )

    def split_of(self, subject: Subject) -> Split:
        """Return the split that is asked for; raises UnsupportedError where the task predicts no tokens."""
        if not isinstance(subject.data.objective, TokenPrediction):
            raise UnsupportedError(NO_TOKENS)
        return subject.data.test if self.split == "test" else subject.data.validation

    def text_of(self, subject: Subject, connected: bool = False) -> Tokens:
        """Return the text (N,) that the split is read from.

        Raises UnsupportedError where there is none, or where a text that must be `connected` is not.
        """
        split = self.split_of(subject)
        if not subject.data.objective.causal:
            raise UnsupportedError(BOTH_SIDES)
        stream = stream_of(split)
        if stream is None:
            raise UnsupportedError(NO_TEXT)
        if connected and stream.unrelated is not None:
            raise UnsupportedError(f"the text is {stream.unrelated}: what lies further back says nothing of a token")
        return stream.tokens

    def rows(self, subject: Subject) -> int:
        """Return how many rows are read at a time."""
        return self.batch_size or subject.batch_size

    def phase(self, protocol: str) -> str:
        """Return the phase of a row: the protocol, and the split unless it is the test split."""
        return protocol if self.split == "test" else f"{protocol}, on {self.split}"


def carries_state(subject: Subject) -> bool:
    """Whether the run's variant carries state from one segment to the next."""
    return Capability.SEGMENT_STATE in subject.contender.variant.supports
