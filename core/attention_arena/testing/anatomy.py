"""What of an attention layer belongs to which head, read off gradients, so that no layer needs to say it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from attention_arena.layers import Attention
from attention_arena.testing.verdict import NotApplicable
from attention_arena.variant import Context

Masks = Mapping[str, Sequence[Tensor]]
"""Parameter -> for each head a mask of its shape: what this head alone depends on."""


def attend(attention: Attention, x: Tensor, context: Context = Context()) -> Tensor:  # noqa: B008 - an immutable tuple
    """Return what a layer makes of hidden states `x` (B, T, D) without a norm, with the generator at one place."""
    torch.manual_seed(2)
    return attention.forward_raw(x, nn.Identity(), context).hidden


def output_projection(attention: Attention, x: Tensor) -> tuple[str, nn.Parameter]:
    """Return the parameter (D, D) from heads side by side to the output, and its name: row c alone makes channel c.

    Raises `NotApplicable` for a layer that ends otherwise.
    """
    named = dict(attention.named_parameters())
    channel = attend(attention, x)[..., 0].sum()
    gradients = torch.autograd.grad(channel, list(named.values()), allow_unused=True)
    for (name, parameter), gradient in zip(named.items(), gradients, strict=True):
        if parameter.shape != (x.shape[-1], x.shape[-1]) or gradient is None:
            continue
        if gradient[0].any() and not gradient[1:].any():
            return name, parameter
    raise NotApplicable(f"{type(attention).__name__} does not end in a projection of its heads")


def find_heads(attention: Attention, n_heads: int, x: Tensor, context: Context) -> Masks:
    """Return which numbers of each parameter belong to one head alone, for each of them.

    Seen where the output projection passes one head on: what then has a gradient is this head's, or shared. What
    several heads share is in no mask, nor is what the pass over `x` (B, T, D) does not use.
    """
    last, projection = output_projection(attention, x)
    named = dict(attention.named_parameters())
    columns = torch.arange(x.shape[-1]) // (x.shape[-1] // n_heads)
    whole = projection.detach().clone()
    used: list[list[Tensor]] = []
    for head in range(n_heads):
        with torch.no_grad():
            projection.copy_(whole * (columns == head))
        gradients = torch.autograd.grad(attend(attention, x, context).sin().sum(), [*named.values()], allow_unused=True)
        used.append([torch.zeros_like(p) if g is None else g for p, g in zip(named.values(), gradients, strict=True)])
    with torch.no_grad():
        projection.copy_(whole)
    masks = {name: _alone(gradients) for name, *gradients in zip(named, *used, strict=True)}
    return masks | {last: [(columns == head).expand_as(whole) for head in range(n_heads)]}


def _alone(gradients: Sequence[Tensor]) -> list[Tensor]:
    used = torch.stack([gradient != 0 for gradient in gradients])
    return list(used & (used.sum(0) == 1))


def rearrange(attention: Attention, masks: Masks, order: Sequence[int]) -> None:
    """Give head h of a layer all that head `order[h]` had: its numbers of parameters, its row of buffers (H, ...).

    Raises `NotApplicable` where one head has more parameters than another.
    """
    for name, parameter in attention.named_parameters():
        before = parameter.detach().clone()
        if len({int(mask.sum()) for mask in masks[name]}) > 1:
            raise NotApplicable(f"{type(attention).__name__} has more parameters for one head than for another")
        for mask, source in zip(masks[name], order, strict=True):
            parameter.data[mask] = before[masks[name][source]]
    for buffer in attention.buffers():
        if buffer.dim() > 1 and len(buffer) == len(order):
            buffer.copy_(buffer[list(order)])
