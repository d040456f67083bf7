"""One projection of hidden states for two uses: as a segment's own keys and values, and as memory of a later one.

Memory is constant, the projection is not: its weights learn from both uses, the hidden states from the first alone.
The paper's code projects a memory again in every segment, with the same result.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from attention_arena.layers import first_order


def project_twice(rows: Tensor, remembered: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return `rows weight^T` (B, S, C) of `rows` (B, S, D) and `weight` (C, D), and the same of `remembered` (B, S, D).

    `remembered` holds the numbers of `rows`, so one product serves both; only their gradients go different ways.
    """
    return _ProjectTwice.apply(rows, remembered, weight)  # type: ignore[no-any-return, no-untyped-call]


class _ProjectTwice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, remembered: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(rows, weight)
        projected = functional.linear(rows, weight)
        return projected, projected.detach()

    @staticmethod
    @first_order
    def backward(ctx: Any, of_present: Tensor, of_past: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        # Under autocast the products of forward were in a lower precision than their inputs, and so are these.
        lowered = weight.to(of_present.dtype)
        of_rows = (of_present @ lowered).to(rows.dtype) if ctx.needs_input_grad[0] else None
        of_remembered = (of_past @ lowered).to(rows.dtype) if ctx.needs_input_grad[1] else None
        of_weight = None
        if ctx.needs_input_grad[2]:
            both = (of_present + of_past).flatten(0, 1)
            of_weight = (both.mT @ rows.flatten(0, 1).to(both.dtype)).to(weight.dtype)
        return of_rows, of_remembered, of_weight
