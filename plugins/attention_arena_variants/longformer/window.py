"""Attention to a band of keys around each query, exact and without the matrix of all pairs.

A block of queries sees one run of keys, as long as the band and the block together. Every key of a query is in its run,
tokens pinned from elsewhere included, so one softmax is all there is, and backward repeats it and keeps no more than
the projected heads.

Letters beside the usual ones: N layout rows (batch, times the residues of a dilation).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attention_arena.layers import first_order, kept_type, untracked
from attention_arena_variants.longformer.blocks import VALUE, Desk
from attention_arena_variants.longformer.gradients import Gradients, Written
from attention_arena_variants.longformer.layout import Band, Pinned
from attention_arena_variants.longformer.walk import Walk


def attend_band(
    projected: Tensor, band: Band, *, valid: Tensor | None = None, pinned: Pinned | None = None, dropout: float = 0.0
) -> Tensor:
    """Return heads (N, T, H, E): for each query one softmax over its band and the pinned tokens.

    `projected` (N, T, 3, H, E) holds query, key and value. Tokens outside `valid` (N, T) are not attended to, and give
    zeros. Scores are multiplied by 1 / sqrt(E); exponentials are taken in at least float32.
    """
    # One number stands for all that dropout draws, so that backward can draw it again.
    seed = int(torch.randint(2**62, (), device="cpu")) if dropout else 0
    return _Attend.apply(projected, band, valid, pinned, dropout, seed)  # type: ignore[no-any-return, no-untyped-call]


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        projected: Tensor,
        band: Band,
        valid: Tensor | None,
        pinned: Pinned | None,
        dropout: float,
        seed: int,
    ) -> Tensor:
        ctx.save_for_backward(projected.to(kept_type(projected, ctx)), valid, *(pinned or (None, None, None)))
        ctx.rules, ctx.dtype = (band, dropout, seed), projected.dtype
        out = torch.empty(projected[:, :, 0].shape, dtype=projected.dtype, device=projected.device)
        with untracked():
            _write_heads(out, Walk(projected, band, valid, pinned, dropout, seed))
        return out if valid is None else out.masked_fill_(~valid[:, :, None, None], 0.0)

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        projected, valid, *pins = ctx.saved_tensors
        band, dropout, seed = ctx.rules
        pinned = None if pins[0] is None else Pinned(*pins)
        if valid is not None:
            grad = grad.masked_fill(~valid[:, :, None, None], 0.0)
        found = Gradients(projected, ctx.dtype, pinned)
        with untracked():
            _find_gradients(found, grad, Walk(projected, band, valid, pinned, dropout, seed))
        return (found.gather(), None, None, None, None, None)


def _write_heads(out: Tensor, walk: Walk) -> None:
    """Write heads (N, T, H, E)."""
    desk = Desk(walk)
    for piece in walk.pieces():
        desk.lay_out(piece)
        values = desk.keys("value", VALUE)
        heads = Written("heads", out[piece.rows, piece.queries], desk)
        for cell in walk.cells(piece):
            weights = desk.weights(cell)
            kept = walk.draw_kept(weights)
            if kept is not None:
                weights.mul_(kept)
            desk.attend(cell, weights, values, heads.rows)
        heads.close()


def _find_gradients(found: Gradients, grad: Tensor, walk: Walk) -> None:
    """Enter the gradient of the projected heads, given that of the heads (N, T, H, E), into `found`."""
    desk = Desk(walk)
    for piece in walk.pieces():
        desk.lay_out(piece)
        values = desk.keys("value", VALUE)
        of_heads = desk.rows("of heads", grad[piece.rows, piece.queries], any_order=True)
        of_query, of_key, of_value = found.open(piece, desk)
        for cell in walk.cells(piece):
            # As softmax passes gradients on linearly, scores of the values may be scaled in place of its own.
            weights, grads = desk.weights(cell), desk.score("of weights", cell, of_heads, values)
            kept = walk.draw_kept(weights)
            if kept is not None:
                grads.mul_(kept)
            of_value.add(cell, weights if kept is None else weights * kept, of_heads)
            torch._softmax_backward_data(grads, weights, -1, grads.dtype, grad_input=grads)
            desk.attend(cell, grads, desk.key, of_query.rows)
            of_key.add(cell, grads, desk.query)
        found.close(piece, of_query, of_key, of_value)
