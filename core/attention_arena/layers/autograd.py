"""What attention with a backward of its own has in common."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor

from attention_arena.layers.scratch import processor_of

Gradients = TypeVar("Gradients")


def first_order(backward: Callable[..., Gradients]) -> Callable[..., Gradients]:
    """Run the backward of an autograd function without recording it, and refuse to be differentiated again.

    Raises RuntimeError where a graph of the gradient is asked for (`create_graph=True`): it would lack all that passes
    through the function, and say nothing.
    """

    @wraps(backward)
    def run(ctx: Any, *grads: Any) -> Gradients:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "this function has no second derivative, which create_graph=True asks for; use variant softmax with"
                " implementation: naive, and residual: plain"
            )
        return backward(ctx, *grads)

    return run


def without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """Leave autocast, which would change the types of products that are summed in place; `x` names the device."""
    return torch.autocast(processor_of(x), enabled=False)


def untracked() -> AbstractContextManager[Any]:
    """Leave views and writes untracked, which is a good part of what an operation on a small block costs.

    For the forward and the backward of an autograd function: tensors that are made inside may not be kept or returned,
    only written over those that were made outside. Compilers take no inference mode, and need none.
    """
    return nullcontext() if torch.compiler.is_compiling() else torch.inference_mode()
