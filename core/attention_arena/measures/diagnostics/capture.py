"""What each attention layer of a trained model is given, and a hand on what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attention_arena.layers import Attention, AttentionOutput
from attention_arena.task import Batch
from attention_arena.variant import Context, State

Attend = Callable[[Tensor, nn.Module, Context], AttentionOutput]
"""An attention's own `forward_raw`: (x (B, T, D) before its norm, the norm, context) -> output."""
Around = Callable[[int, Attend, Tensor, nn.Module, Context], AttentionOutput]
"""What is run instead: (layer, that `forward_raw`, and its arguments) -> output."""


class LayerInput(NamedTuple):
    """What one attention layer was called with; `attention(x, context)` repeats the call, or `forward_raw` with `raw`.

    Of a pair both sequences are rows: B is twice the batch.
    """

    attention: Attention
    x: Tensor
    """(B, T, D) hidden states after the layer norm in front of attention, where the model has one there."""
    context: Context
    raw: Tensor
    """(B, T, D) the same before it."""
    norm: nn.Module
    """That layer norm; the identity in a model that normalises after the residual."""


def attention_layers(model: nn.Module) -> list[Attention]:
    """Return the attention of each layer, in order; none where a variant's backbone is no stack of attention."""
    return [module for module in model.modules() if isinstance(module, Attention)]


@contextmanager
def intercepted(model: nn.Module, around: Around) -> Iterator[None]:
    """Run `around` in place of every attention layer's sequence forward inside the block; the model is whole after it.

    Not a forward hook, because a block calls `forward_raw`, which need not pass through the module's call.
    """
    layers = attention_layers(model)
    try:
        for layer, attention in enumerate(layers):
            # An attribute of the object hides the method of its class.
            attention.forward_raw = partial(around, layer, attention.forward_raw)  # type: ignore[method-assign]
        yield
    finally:
        for attention in layers:
            attention.__dict__.pop("forward_raw", None)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Hold the model in evaluation mode inside the block; each module is in its own mode again after it."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def layer_inputs(model: nn.Module, batch: Batch, state: State | None = None) -> list[LayerInput]:
    """Return what each attention layer of a `SequenceModel` is given for `batch`, in the order of the calls.

    In evaluation mode, without gradients, under the caller's autocast; the model's mode is restored. `state` is what
    the batch before returned. Empty where the backbone is no stack of attention.
    """
    found: list[LayerInput] = []
    layers = attention_layers(model)

    def note(layer: int, attend: Attend, x: Tensor, norm: nn.Module, context: Context) -> AttentionOutput:
        found.append(LayerInput(layers[layer], norm(x), context, x, norm))
        return attend(x, norm, context)

    with torch.no_grad(), evaluating(model), intercepted(model, note):
        model(batch, state)
    return found
