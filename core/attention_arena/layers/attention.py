"""Rungs 1 and 2: attention inside the shared block."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from attention_arena.layers.half_precision import lower
from attention_arena.layers.inputs import require_step
from attention_arena.layers.linear import Linear
from attention_arena.layers.positions import rotate
from attention_arena.layers.weights import weights_of
from attention_arena.variant import Context, ModelShape, State


class AttentionOutput(NamedTuple):
    """What an attention returns.

    - `hidden` (B, T, D), after the output projection.
    - `state`: detached, handed back as `context.state` with the next segment or step; None to keep nothing.
    - `replay`: what must not be decided again when the forward is repeated, handed back as `context.replay`.
    """

    hidden: Tensor
    state: State | None = None
    replay: Any = None


class Attention(nn.Module):
    """Rung 2: attention over hidden states with projections of its own."""

    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        """Attend from and to normalised hidden states `x` (B, T, D)."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def step(self, x: Tensor, context: Context) -> AttentionOutput:
        """Attend from the next token `x` (B, 1, D) to it and what `context.state` keeps of the tokens before."""
        raise NotImplementedError(f"{type(self).__name__} does not decode step by step")

    def forward_raw(self, x: Tensor, norm: nn.Module, context: Context) -> AttentionOutput:
        """Attend from hidden states before normalisation (B, T, D); the block calls this one.

        Override it when what is kept between segments must not be normalised yet (Transformer-XL's memory).
        """
        return self(norm(x), context)  # type: ignore[no-any-return]

    def step_raw(self, x: Tensor, norm: nn.Module, context: Context) -> AttentionOutput:
        """`forward_raw` for one step."""
        return self.step(norm(x), context)

    def weights(self, x: Tensor, context: Context) -> Tensor:
        """Return what `forward` weighs the values by, (B, H, T, S), for normalised hidden states `x` (B, T, D).

        Keys are the T tokens, after those of a memory where there is one. Hidden keys weigh exactly 0. With what
        `forward` returned as `context.replay`, they are the weights of that very forward. For analysis: n x n numbers
        are held and no gradient is kept. Raises NoWeightsError where the layer is no weighted sum of values.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say its attention weights")

    def weights_raw(self, x: Tensor, norm: nn.Module, context: Context) -> Tensor:
        """`weights` for hidden states before normalisation; overridden where `forward_raw` is."""
        return self.weights(norm(x), context)


class StepState(NamedTuple):
    """State of rung 1's decoding: tokens so far in each of `n_rows` rows, and what `attend_step` keeps."""

    length: int
    n_rows: int | None
    """None before the first token."""
    kept: State | None


class HeadAttention(Attention):
    """Rung 1: shared projections; a subclass writes `attend` from heads to heads.

    Query, key and value projections and the output projection are D x D without bias, Xavier-uniform. Rotary
    positions, where the shape asks for them, are applied to query and key before `attend`.
    """

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.n_heads = shape.n_heads
        self.max_length = shape.max_length
        self.rotary = shape.positions == "rotary"
        self.project_in = Linear(shape.d_model, 3 * shape.d_model, bias=False, wide=True)
        self.project_out = Linear(shape.d_model, shape.d_model, bias=False, wide=True, shares=True)
        for part in self.project_in.weight.chunk(3):
            nn.init.xavier_uniform_(part)
        nn.init.xavier_uniform_(self.project_out.weight)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        """Map query, key and value (B, H, T, E) to heads (B, H, T, E).

        Positions outside `context.valid` must not be attended to; a query with nothing to attend to gives zeros.
        """
        raise NotImplementedError(f"{type(self).__name__} has no attend")

    def attend_step(
        self, query: Tensor, key: Tensor, value: Tensor, position: int, kept: State | None
    ) -> tuple[Tensor, State]:
        """Attend from the token at `position` (B, H, 1, E); return its heads and what to keep for the next one."""
        raise NotImplementedError(f"{type(self).__name__} does not decode step by step")

    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        """Attend over normalised hidden states (B, T, D)."""
        query, key, value = self._heads(x, 0)
        return AttentionOutput(self._merge(self.attend(query, key, value, context)))

    def step(self, x: Tensor, context: Context) -> AttentionOutput:
        """Attend from the next token (B, 1, D).

        Raises ValueError where it is padding, is beyond `max_length`, or does not fit the rows of the state.
        """
        if context.valid is not None and not context.valid.all():
            raise ValueError(
                f"{type(self).__name__} decodes real tokens only, but `valid` is false for"
                f" {int((~context.valid).sum())} of {len(x)}; leave those rows out of the batch"
            )
        before = context.state or StepState(0, None, None)
        require_step(x, before.length, before.n_rows, max_length=self.max_length)
        # What the state keeps is in the type of autocast.
        query, key, value = (lower(part) for part in self._heads(x, before.length))
        heads, kept = self.attend_step(query, key, value, before.length, before.kept)
        return AttentionOutput(self._merge(heads), StepState(before.length + 1, len(x), kept))

    def weights(self, x: Tensor, context: Context) -> Tensor:
        """Return the weights (B, H, T, T) of `attend`, found by giving it columns of the identity as values."""
        with torch.no_grad():
            query, key, value = self._heads(x, 0)
        return weights_of(lambda values: self.attend(query, key, values, context), value)

    def _heads(self, x: Tensor, offset: int) -> tuple[Tensor, Tensor, Tensor]:
        B, T, D = x.shape
        parts = self.project_in(x).view(B, T, 3, self.n_heads, D // self.n_heads)
        # Taken apart first, so that backward puts the gradients together in the order of the projection.
        query, key, value = (part.transpose(1, 2) for part in parts.unbind(2))  # (B, H, T, E) each
        if self.rotary:
            query, key = rotate(query, offset), rotate(key, offset)
        return query, key, value

    def _merge(self, heads: Tensor) -> Tensor:
        B, _, T, _ = heads.shape
        return self.project_out(heads.transpose(1, 2).reshape(B, T, -1))  # type: ignore[no-any-return]
