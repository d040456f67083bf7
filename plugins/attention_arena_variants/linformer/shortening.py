"""The product that shortens a sequence, with the same matrix for each row of a batch.

Letters beside the usual ones: R slots; G groups of heads that have a matrix of their own; C channels of a group.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attention_arena.layers import kept_of, lower, sections, slow_half, without_autocast

SLOTS, OF_MATRIX, OF_ROWS = "grt,bgtc->bgrc", "bgrc,bgtc->grt", "grt,bgrc->bgtc"


def shorten(matrix: Tensor, rows: Tensor, kept: Tensor | None = None) -> Tensor:
    """Return `matrix` (G, R, T) times `rows` (B, G, T, C), (B, G, R, C); under autocast in its type.

    On processors without fast products of half precision it is multiplied in float32, as `layers.linear` does. `kept`
    is `kept_of(rows)`, where several products share it.
    """
    kept = kept_of(rows) if kept is None else kept
    half = slow_half(matrix, rows)
    if half is None:
        return _Shorten.apply(lower(matrix), kept)  # type: ignore[no-any-return, no-untyped-call]
    return _ShortenInSections.apply(matrix, rows, kept, half)  # type: ignore[no-any-return, no-untyped-call]


class _Shorten(torch.autograd.Function):
    """A product that keeps its two arguments alone.

    Plain autograd would keep a transposed copy of a batch's rows, or hold a gradient of the matrix for each of them.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(matrix, rows)
        return torch.einsum(SLOTS, matrix, rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        matrix, rows = ctx.saved_tensors
        needs_matrix, needs_rows = ctx.needs_input_grad
        grad_matrix = torch.einsum(OF_MATRIX, grad, rows) if needs_matrix else None
        grad_rows = torch.einsum(OF_ROWS, matrix, grad) if needs_rows else None
        return grad_matrix, grad_rows


class _ShortenInSections(torch.autograd.Function):
    """The same in float32, some positions at a time, with slots in `half` precision.

    What backward keeps of `rows` is an argument, so that a gradient of a gradient reaches them through it.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, rows: Tensor, kept: Tensor | None, half: torch.dtype) -> Tensor:
        ctx.save_for_backward(matrix, kept)
        ctx.rows_type = rows.dtype
        B, G, T, C = rows.shape
        total = torch.zeros(B, G, matrix.shape[1], C, device=rows.device)
        with without_autocast(rows):
            for some in sections(T, B * G * C):
                total += torch.einsum(SLOTS, *_widened(matrix, rows, some))
        return total.to(half)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        matrix, kept = ctx.saved_tensors
        needs_matrix, needs_rows, *_ = ctx.needs_input_grad
        with without_autocast(grad):
            wide = grad.to(torch.float32)
            if torch.is_grad_enabled():
                columns, section = _widened(matrix, kept, slice(None))
                whole = torch.einsum(OF_MATRIX, wide, section), torch.einsum(OF_ROWS, columns, wide)
                return whole[0].to(matrix.dtype), whole[1].to(ctx.rows_type), None, None
            of_matrix = torch.empty_like(matrix) if needs_matrix else None
            of_rows = torch.empty_like(kept, dtype=ctx.rows_type) if needs_rows else None
            n_held = 4  # A section and its products exist beside the whole gradients.
            for some in sections(kept.shape[2], n_held * kept[:, :, 0].numel()):
                columns, section = _widened(matrix, kept, some)
                if of_matrix is not None:
                    of_matrix[..., some] = torch.einsum(OF_MATRIX, wide, section)
                if of_rows is not None:
                    of_rows[:, :, some] = torch.einsum(OF_ROWS, columns, wide)
        return of_matrix, of_rows, None, None


def _widened(matrix: Tensor, rows: Tensor, some: slice) -> tuple[Tensor, Tensor]:
    """Return the columns of `matrix` and the `rows` at some positions, in float32."""
    return matrix[..., some].to(torch.float32), rows[:, :, some].to(torch.float32)
