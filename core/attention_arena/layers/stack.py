"""Blocks on top of each other, with state threaded through: the backbone of rungs 1 and 2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from attention_arena.layers.attention import Attention, AttentionOutput
from attention_arena.layers.block import Block
from attention_arena.layers.inputs import require_input
from attention_arena.layers.reversible import run_reversible, run_two_streams
from attention_arena.variant import Backbone, BackboneOutput, Context, ModelShape, State

Residual = Callable[[Sequence[Block], Tensor, Sequence[Context]], tuple[Tensor, list[State | None]]]
"""(blocks, x (B, T, D), one context per block) -> hidden states (B, T, D) and one state per block."""

Through = Callable[[Block, Tensor, Context], AttentionOutput]


def run_plain(
    blocks: Sequence[Block], x: Tensor, contexts: Sequence[Context], through: Through = Block.__call__
) -> tuple[Tensor, list[State | None]]:
    """Run the blocks and let autograd keep what it needs; `through` is a block's forward or its step."""
    states = []
    for block, context in zip(blocks, contexts, strict=True):
        output = through(block, x, context)
        x = output.hidden
        states.append(output.state)
    return x, states


def run_checkpointed(
    blocks: Sequence[Block], x: Tensor, contexts: Sequence[Context]
) -> tuple[Tensor, list[State | None]]:
    """Run the blocks, keep each block's input and replay alone, and recompute the rest in backward."""
    if not torch.is_grad_enabled():
        return run_plain(blocks, x, contexts)
    states = []
    for block, context in zip(blocks, contexts, strict=True):
        output = checkpoint(_Repeatable(block), x, context, use_reentrant=False)
        x = output.hidden
        states.append(output.state)
    return x, states


class _Repeatable:
    """A block whose second forward is handed what the first one decided."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.replay: Any = None

    def __call__(self, x: Tensor, context: Context) -> AttentionOutput:
        if self.replay is not None:
            context = context._replace(replay=self.replay)
        output: AttentionOutput = self.block(x, context)
        self.replay = output.replay
        return output


def step_plain(blocks: Sequence[Block], x: Tensor, contexts: Sequence[Context]) -> tuple[Tensor, list[State | None]]:
    """Run the blocks on the next token `x` (B, 1, D)."""
    return run_plain(blocks, x, contexts, through=Block.step)


def step_two_streams(
    blocks: Sequence[Block], x: Tensor, contexts: Sequence[Context]
) -> tuple[Tensor, list[State | None]]:
    """Run the two streams of a reversible stack on the next token `x` (B, 1, D)."""
    return run_two_streams(blocks, x, contexts, attend=Block.step_branch)


RESIDUALS: dict[str, Residual] = {
    "plain": run_plain,
    "checkpointed": run_checkpointed,
    "reversible": run_reversible,
}


class Stack(Backbone):
    """`n_layers` blocks around the attention that `attention(layer)` builds; layer counts from 0.

    State is one entry per layer, or None when no layer keeps any.
    """

    def __init__(self, shape: ModelShape, attention: Callable[[int], Attention]) -> None:
        super().__init__()
        self.shape = shape
        self.blocks = nn.ModuleList(Block(shape, attention(layer)) for layer in range(shape.n_layers))
        self.final_norm = nn.LayerNorm(shape.d_model) if shape.norm == "pre" else nn.Identity()
        self.residual = RESIDUALS[shape.residual]
        self.residual_step = step_two_streams if shape.residual == "reversible" else step_plain

    def forward(self, x: Tensor, context: Context = Context()) -> BackboneOutput:  # noqa: B008 - an immutable tuple
        """Encode `x` (B, T, D)."""
        require_input(x, context, self.shape, self, max_length=self.shape.max_length)
        hidden, states = self.residual(self._blocks(), x, self._contexts(context))
        return BackboneOutput(self.final_norm(hidden), self._collect(states))

    def step(self, x: Tensor, context: Context = Context()) -> BackboneOutput:  # noqa: B008 - an immutable tuple
        """Encode the next token `x` (B, 1, D)."""
        require_input(x, context, self.shape, self, max_length=1)
        hidden, states = self.residual_step(self._blocks(), x, self._contexts(context))
        return BackboneOutput(self.final_norm(hidden), self._collect(states))

    def _blocks(self) -> list[Block]:
        return list(self.blocks)  # type: ignore[arg-type]

    def _contexts(self, context: Context) -> list[Context]:
        states = context.state if context.state is not None else [None] * len(self.blocks)
        return [context._replace(state=state) for state in states]

    @staticmethod
    def _collect(states: list[State | None]) -> State | None:
        return None if all(state is None for state in states) else states
