"""What attention with a backward of its own has in common."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor

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
    return torch.autocast("cpu" if x.device.type == "meta" else x.device.type, enabled=False)
