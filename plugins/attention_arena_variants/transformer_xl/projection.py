"""One projection of hidden states for two uses: as a segment's own keys and values, and as memory of a later one.

Memory is constant, the projection is not: its weights learn from both uses, the hidden states from the first alone.
The paper's code projects a memory again in every segment, with the same result.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attention_arena.layers import first_order, linear, slow_half


def project_twice(rows: Tensor, remembered: Tensor, kept: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return `rows weight^T` (B, S, C) of `rows` (B, S, D) and `weight` (C, D), and the same of `remembered` (B, S, D).

    `remembered` holds the numbers of `rows`, so one product serves both; only their gradients go different ways. `kept`
    is `kept_of(rows)`.
    """
    return _ProjectTwice.apply(rows, remembered, kept, weight)  # type: ignore[no-any-return, no-untyped-call]


class _ProjectTwice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, remembered: Tensor, kept: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(kept, weight)
        ctx.rows_type = rows.dtype
        projected = linear(rows, weight, kept=kept, wide=True)
        return projected, projected.detach()

    @staticmethod
    @first_order
    def backward(ctx: Any, of_present: Tensor, of_past: Tensor) -> tuple[Tensor | None, ...]:
        kept, weight = ctx.saved_tensors
        # Under autocast the products of forward were in a lower precision than the weights, and so are these.
        work = of_present.dtype if slow_half(of_present) is None else torch.float32
        matrix = weight.to(work)
        of_rows = (of_present.to(work) @ matrix).to(ctx.rows_type) if ctx.needs_input_grad[0] else None
        of_remembered = (of_past.to(work) @ matrix).to(ctx.rows_type) if ctx.needs_input_grad[1] else None
        of_weight = None
        if ctx.needs_input_grad[3]:
            both = (of_present.to(work) + of_past).flatten(0, 1)
            of_weight = (both.mT @ kept.flatten(0, 1).to(work)).to(weight.dtype)
        return of_rows, of_remembered, None, of_weight
