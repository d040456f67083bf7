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

    On processors without fast products of half precision it is a product in float32, as a wide `layers.linear` is.
    `kept` is `kept_of(rows)`, where several products share it.
    """
    kept = kept_of(rows) if kept is None else kept
    half = slow_half(matrix, rows)
    if half is None:
        return _Shorten.apply(lower(matrix), kept)  # type: ignore[no-any-return, no-untyped-call]
    return _ShortenInSections.apply(matrix, rows, kept)  # type: ignore[no-any-return, no-untyped-call]


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
    """The same in float32, some positions at a time, with slots in the wider type of the two.

    What backward keeps of `rows` is an argument, so that a gradient of a gradient reaches them through it.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, rows: Tensor, kept: Tensor | None) -> Tensor:
        ctx.save_for_backward(matrix, kept)
        ctx.rows_type = rows.dtype
        is_wide = matrix.dtype == rows.dtype == torch.float32
        B, G, T, C = rows.shape
        slots = torch.zeros(B, G, matrix.shape[1], C, device=rows.device)
        with without_autocast(rows):
            for some in [slice(None)] if is_wide else sections(T, B * G * C):
                slots += torch.einsum(SLOTS, _wide(matrix[..., some]), _wide(rows[:, :, some]))
        return slots.to(torch.promote_types(matrix.dtype, rows.dtype))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        matrix, kept = ctx.saved_tensors
        needs_matrix, needs_rows, _ = ctx.needs_input_grad
        of_matrix = of_rows = None
        with without_autocast(grad):
            if needs_rows:
                of_rows = torch.einsum(OF_ROWS, _wide(matrix), _wide(grad)).to(ctx.rows_type)
            for some in sections(kept.shape[2], kept[:, :, 0].numel()) if needs_matrix else ():
                found = torch.einsum(OF_MATRIX, _wide(grad), _wide(kept[:, :, some]))
                of_matrix = _enter(of_matrix, some, found, matrix)
        return of_matrix, of_rows, None


def _enter(total: Tensor | None, some: slice, found: Tensor, like: Tensor) -> Tensor:
    """Return a gradient (G, R, T) with what was `found` of some positions, if that is not all of them."""
    if found.shape == like.shape:
        return found.to(like.dtype)
    total = torch.empty_like(like) if total is None else total
    total[..., some] = found
    return total


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.float32)
