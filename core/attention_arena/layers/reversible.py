"""Reversible residual layers (Gomez et al. 2017; Kitaev et al. 2020, section 3).

Two streams replace one: y1 = x1 + Attention(x2), y2 = x2 + FeedForward(y1). Activations need not be kept, because a
block's inputs follow from its outputs: x2 = y2 - FeedForward(y1), x1 = y1 - Attention(x2). Memory for backward is then
that of one block, whatever the depth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attention_arena.layers.attention import AttentionOutput
from attention_arena.layers.autograd import first_order
from attention_arena.layers.block import Block
from attention_arena.variant import Context, State

Attend = Callable[[Block, Tensor, Context], AttentionOutput]


class Generators(NamedTuple):
    """State of the random generators at one moment: CPU, and the device's if it is another."""

    cpu: Tensor
    device: Tensor | None

    @classmethod
    def of(cls, device: torch.device) -> Generators:
        """Return the present state."""
        on_cuda = device.type == "cuda"
        return cls(torch.get_rng_state(), torch.cuda.get_rng_state(device) if on_cuda else None)

    @contextmanager
    def replayed(self, device: torch.device) -> Iterator[None]:
        """Set the generators back to this state inside the block, and restore them after it."""
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.set_rng_state(self.cpu)
            if self.device is not None:
                torch.cuda.set_rng_state(self.device, device)
            yield


class Autocast(NamedTuple):
    """The autocast setting of a device at one moment."""

    enabled: bool
    dtype: torch.dtype

    @classmethod
    def of(cls, device: torch.device) -> Autocast:
        """Return the present setting."""
        return cls(torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type))

    def replayed(self, device: torch.device) -> AbstractContextManager[Any]:
        """Set autocast back to this setting inside the block."""
        return torch.autocast(device.type, dtype=self.dtype, enabled=self.enabled)


def run_two_streams(
    blocks: Sequence[Block], x: Tensor, contexts: Sequence[Context], attend: Attend = Block.attention_branch
) -> tuple[Tensor, list[State | None]]:
    """Run the two streams under plain autograd: the specification of `run_reversible`, with its memory not saved.

    `attend` is the block's attention branch, over a sequence or over the next token (`Block.step_branch`).
    """
    first, second = x, x
    states = []
    for block, context in zip(blocks, contexts, strict=True):
        attended = attend(block, second, context)
        first = first + attended.hidden
        second = second + block.feed_forward_branch(first)
        states.append(attended.state)
    return (first + second) / 2, states


def run_reversible(
    blocks: Sequence[Block], x: Tensor, contexts: Sequence[Context]
) -> tuple[Tensor, list[State | None]]:
    """Run the two streams, keep the last activations alone and reconstruct the others in backward.

    Both streams start as `x` (B, T, D) and the result is their mean, so that the model has the parameters of a plain
    one. Streams in half precision are refused with ValueError: reconstruction drifts by 0.03 and more there.
    """
    if x.dtype in (torch.float16, torch.bfloat16):
        raise ValueError(f"a reversible stack needs its streams in float32 or float64, got {x.dtype}; use autocast")
    if not torch.is_grad_enabled():
        return run_two_streams(blocks, x, contexts)
    states: list[State | None] = []
    parameters = [parameter for block in blocks for parameter in block.parameters()]
    first, second = _Reversible.apply(blocks, contexts, states, x, *parameters)  # type: ignore[no-untyped-call]
    return (first + second) / 2, states


class _Reversible(torch.autograd.Function):
    """All blocks as one differentiable function of the input and the parameters."""

    @staticmethod
    def forward(
        ctx: Any,
        blocks: Sequence[Block],
        contexts: Sequence[Context],
        states: list[Any],
        x: Tensor,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        first, second = x, x
        replays = []
        for block, context in zip(blocks, contexts, strict=True):
            before_attention = Generators.of(x.device)
            attended = block.attention_branch(second, context)
            first = first + attended.hidden
            before_feed_forward = Generators.of(x.device)
            second = second + block.feed_forward_branch(first)
            states.append(attended.state)
            replayed = context._replace(replay=attended.replay)
            replays.append((replayed, before_attention, before_feed_forward))
        leaves, ctx.structure = pytree.tree_flatten(replays)
        # Blocks share a batch's masks, which are saved once.
        unique = {id(leaf): leaf for leaf in leaves if isinstance(leaf, Tensor)}
        places = {name: place for place, name in enumerate(unique)}
        ctx.places = [places.get(id(leaf)) for leaf in leaves]
        ctx.constants = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        ctx.save_for_backward(first, second, *unique.values())
        ctx.blocks = blocks
        ctx.autocast = Autocast.of(x.device)
        return first, second

    @staticmethod
    @first_order
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        first, second, *tensors = ctx.saved_tensors
        leaves = [
            constant if place is None else tensors[place]
            for place, constant in zip(ctx.places, ctx.constants, strict=True)
        ]
        replays = pytree.tree_unflatten(leaves, ctx.structure)
        grad_first, grad_second = grads
        by_block: list[list[Tensor | None]] = []
        for block, replay in zip(reversed(ctx.blocks), reversed(replays), strict=True):
            first, second, grad_first, grad_second, grads_of_block = _step_back(
                block, replay, ctx.autocast, first, second, grad_first, grad_second
            )
            by_block.append(grads_of_block)
        grad_parameters = [grad for grads_of_block in reversed(by_block) for grad in grads_of_block]
        return None, None, None, grad_first + grad_second, *grad_parameters


def _step_back(
    block: Block,
    replay: tuple[Context, Generators, Generators],
    autocast: Autocast,
    y1: Tensor,
    y2: Tensor,
    grad_y1: Tensor,
    grad_y2: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor | None]]:
    """Reconstruct a block's inputs from its outputs and push the gradients through; shapes (B, T, D).

    Autocast is on where the forward is repeated alone: on during gradients, it would lower what a block keeps high.
    """
    context, before_attention, before_feed_forward = replay
    parameters = [parameter for parameter in block.parameters() if parameter.requires_grad]
    y1 = y1.detach().requires_grad_()
    with torch.enable_grad(), autocast.replayed(y1.device), before_feed_forward.replayed(y1.device):
        fed = block.feed_forward_branch(y1)
    from_feed_forward = _gradients(fed, [y1, *parameters], grad_y2)
    x2 = (y2 - fed).detach().requires_grad_()
    del fed
    grad_y1 = grad_y1 + _or_zero(from_feed_forward[0], grad_y1)
    with torch.enable_grad(), autocast.replayed(y1.device), before_attention.replayed(y1.device):
        attended = block.attention_branch(x2, context).hidden
    from_attention = _gradients(attended, [x2, *parameters], grad_y1)
    x1 = (y1 - attended).detach()
    grad_x2 = grad_y2 + _or_zero(from_attention[0], grad_y2)
    summed = {
        id(parameter): _sum(a, b)
        for parameter, a, b in zip(parameters, from_feed_forward[1:], from_attention[1:], strict=True)
    }
    return x1, x2.detach(), grad_y1, grad_x2, [summed.get(id(parameter)) for parameter in block.parameters()]


def _gradients(output: Tensor, inputs: Sequence[Tensor], grad: Tensor) -> tuple[Tensor | None, ...]:
    if not output.requires_grad:
        return (None,) * len(inputs)
    return torch.autograd.grad(output, inputs, grad.to(output.dtype), allow_unused=True)


def _or_zero(grad: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if grad is None else grad


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return a + b
