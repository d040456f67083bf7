"""What variant checks start from: a small backbone in one direction, inputs for it, and how two results compare."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attention_arena.layers import Stack
from attention_arena.layers.block import Block
from attention_arena.testing.verdict import NotApplicable
from attention_arena.variant import Backbone, BackboneOutput, Capability, Context, ModelShape, Options, Variant

MAX_LENGTH = 13
"""Odd, and no multiple of any block size above 1."""
D_MODEL = 16


class Run(NamedTuple):
    """One forward and backward pass: hidden states (B, T, D) and the gradient of the input (B, T, D)."""

    hidden: Tensor
    gradient: Tensor


@dataclass(frozen=True)
class Trial:
    """A variant with its options and one shape to build it in."""

    variant: Variant
    options: Options
    shape: ModelShape

    def __str__(self) -> str:
        return f"{self.variant.name}, {'causal' if self.shape.causal else 'bidirectional'}"

    def backbone(self, seed: int = 0, dtype: torch.dtype = torch.float64) -> Backbone:
        """Return a fresh backbone in evaluation mode; the same seed gives the same one."""
        torch.manual_seed(seed)
        return self.variant.build(self.options, self.shape).to(dtype).eval()


def trials(variant: Variant, options: Options, *, causal: bool | None = None, **shape: Any) -> Iterator[Trial]:
    """Yield a trial for each direction that the variant supports, or for one of them, if it does."""
    directions = {
        False: Capability.BIDIRECTIONAL in variant.supports,
        True: Capability.CAUSAL in variant.supports,
    }
    for direction, supported in directions.items():
        if supported and causal in (None, direction):
            yield Trial(variant, options, _shape(variant, options, causal=direction, **shape))


def _shape(variant: Variant, options: Options, **fields: Any) -> ModelShape:
    standard = {"d_model": D_MODEL, "n_heads": 2, "n_layers": 2, "d_ff": 24, "max_length": MAX_LENGTH}
    shape = ModelShape(**(standard | fields))
    adapted = variant.adapt_shape(options, shape) if variant.adapt_shape else shape
    # What a check asks for stands above what the variant prefers.
    return adapted.model_copy(update=fields)


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep PyTorch to one thread: on tensors this small more gain nothing, and on a busy machine they cost tenfold."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def requires(variant: Variant, capability: Capability) -> None:
    """Raise `NotApplicable` unless the variant claims a capability."""
    if capability not in variant.supports:
        raise NotApplicable(f"{variant.name} does not claim {capability.value}")


def inputs(B: int, T: int, seed: int = 1, dtype: torch.dtype = torch.float64, width: int = D_MODEL) -> Tensor:
    """Return random hidden states (B, T, D) of order 1."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(B, T, width, generator=generator, dtype=torch.float64).to(dtype)


def paddings(variant: Variant, B: int, T: int) -> list[Tensor | None]:
    """Return what `valid` may be: None and, of a variant that takes padding, (B, T) with the last third of odd rows."""
    if Capability.PADDING not in variant.supports:
        return [None]
    valid = torch.ones(B, T, dtype=torch.bool)
    valid[1::2, T - T // 3 :] = False
    return [None, valid]


def landmarks(B: int, T: int) -> Tensor:
    """Return landmarks (B, T): the first token and, in odd rows, the third."""
    marked = torch.zeros(B, T, dtype=torch.bool)
    marked[:, 0] = True
    marked[1::2, 2:3] = True
    return marked


def forward(backbone: Backbone, x: Tensor, context: Context = Context(), seed: int = 2) -> BackboneOutput:  # noqa: B008
    """Run a backbone on `x` (B, T, D), with the generator at `seed`."""
    torch.manual_seed(seed)
    output: BackboneOutput = backbone(x, context)
    return output


def real_only(hidden: Tensor, valid: Tensor | None) -> Tensor:
    """Return hidden states (B, T, D) with zeros outside `valid` (B, T), where they may be anything."""
    return hidden if valid is None else hidden.masked_fill(~valid[..., None], 0.0)


def loss_of(hidden: Tensor) -> Tensor:
    """Return a weighted sum (0-dim) of hidden states (B, T, D) in which every element has a weight of its own."""
    places = torch.arange(hidden.shape[-2] * hidden.shape[-1], device=hidden.device, dtype=torch.float64)
    weights = (places + 1).sin().view(hidden.shape[-2:])
    return (hidden.double() * weights).sum()


def forward_backward(backbone: Backbone, x: Tensor, context: Context = Context(), seed: int = 2) -> Run:  # noqa: B008
    """Run a backbone and return hidden states and the input's gradient under `loss_of` the valid positions."""
    x = x.clone().requires_grad_()
    hidden = forward(backbone, x, context, seed).hidden
    (gradient,) = torch.autograd.grad(loss_of(real_only(hidden, context.valid)), [x])
    return Run(hidden.detach(), gradient)


def blocks_of(backbone: Backbone) -> Iterator[Block]:
    """Yield the blocks of a stack; a backbone of another kind has no attention to look at on its own."""
    if isinstance(backbone, Stack):
        for block in backbone.blocks:
            assert isinstance(block, Block)
            yield block
