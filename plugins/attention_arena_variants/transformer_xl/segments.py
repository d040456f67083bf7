"""The stack around attention with memory: absolute positions where they are asked for, and rows that start anew."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from attention_arena.layers import Attention, Stack, require_input
from attention_arena.layers.positions import SinusoidalPositions
from attention_arena.variant import BackboneOutput, Context, ModelShape, State


class SegmentStack(Stack):
    """A stack whose attention reads segments of `segment_length` tokens.

    With `positions_in_segments` the input receives sinusoids that count from 0 in every segment: the naive reuse of
    states that the paper argues against, because a token and the one a segment earlier cannot be told apart.
    """

    def __init__(
        self,
        shape: ModelShape,
        attention: Callable[[int], Attention],
        segment_length: int,
        *,
        positions_in_segments: bool,
    ) -> None:
        super().__init__(shape, attention)
        self.segment_length = segment_length
        self.positions = SinusoidalPositions() if positions_in_segments else None

    def forward(self, x: Tensor, context: Context = Context()) -> BackboneOutput:  # noqa: B008 - an immutable tuple
        """Encode `x` (B, T, D), one segment or several."""
        require_input(x, context, self.shape, self, max_length=self.shape.max_length)
        if self.positions is not None:
            segments = torch.split(x, self.segment_length, dim=1)
            x = torch.cat([self.positions(segment) for segment in segments], dim=1)
        return super().forward(x, settle(context))

    def step(self, x: Tensor, context: Context = Context()) -> BackboneOutput:  # noqa: B008 - an immutable tuple
        """Encode the next token `x` (B, 1, D) of a segment; a text has as many as it likes, beyond `max_length` too."""
        require_input(x, context, self.shape, self, max_length=1)
        context = settle(context)
        if self.positions is not None:
            x = self.positions(x, n_open(context.state))
        return super().step(x, context)


def settle(context: Context) -> Context:
    """Return `context` without `resumes` where all rows agree, so that no layer needs a mask per row."""
    if context.state is None or context.resumes is None or context.resumes.all():
        return context._replace(resumes=None)
    if not context.resumes.any():
        return context._replace(state=None, resumes=None)
    return context


def n_open(state: State | None) -> int:
    """Return how many tokens of an unfinished segment the state of a step holds."""
    return 0 if state is None else state[0].n_open
