"""Attention to a band of keys around each query, exact and without the matrix of all pairs.

A block of queries sees one run of keys, as long as the band and the block together. Every key of a query is in its run,
tokens pinned from elsewhere included, so one softmax is all there is, and backward repeats it and keeps no more than
the projected heads.

Letters beside the usual ones: N layout rows (batch, times the residues of a dilation); R = N H rows of products,
R' of them at once; P queries and Q keys of a block; G pinned tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from attention_arena_variants.longformer.blocks import Band, Pinned, Walk, rows_of, shaped
from attention_arena_variants.longformer.gradients import Gradients


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
        ctx.save_for_backward(projected, valid, *(pinned or (None, None, None)))
        ctx.rules = (band, dropout, seed)
        N, T, _, H, E = projected.shape
        out = _blank(projected, N, T, H, E)
        walk, heads = Walk(projected, band, valid, pinned, dropout, seed), rows_of(out)
        for cell in walk.cells():
            weights = walk.weights(cell)
            kept = walk.draw_kept(weights)
            walk.attend(cell, weights if kept is None else weights.mul_(kept), walk.value, heads)
        return out if valid is None else out.masked_fill_(~valid[:, :, None, None], 0.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        projected, valid, *pins = ctx.saved_tensors
        band, dropout, seed = ctx.rules
        pinned = None if pins[0] is None else Pinned(*pins)
        if valid is not None:
            grad = grad.masked_fill(~valid[:, :, None, None], 0.0)
        walk = Walk(projected, band, valid, pinned, dropout, seed)
        found = Gradients(projected, pinned)
        of_heads, of_weights = rows_of(grad), torch.empty_like(walk.buffer)
        for cell in walk.cells():
            found.reach(cell.keys.stop)
            weights = walk.weights(cell)
            kept = walk.draw_kept(weights)
            g = of_heads[cell.rows, cell.queries]
            grads = walk.score(cell, g, walk.value, shaped(of_weights, weights.shape))
            if kept is not None:
                grads.mul_(kept)
            found.value.add(cell, weights if kept is None else weights * kept, g, 1.0)
            torch._softmax_backward_data(grads, weights, -1, grads.dtype, grad_input=grads)
            walk.attend(cell, grads, walk.key, found.query, walk.scale)
            found.key.add(cell, grads, walk.query[cell.rows, cell.queries], walk.scale)
        return (found.gather(), None, None, None, None, None)


def _blank(like: Tensor, N: int, T: int, H: int, E: int) -> Tensor:
    """Return an empty (N, T, H, E) whose rows are a view."""
    return like.new_empty(N, T, H, E) if N == 1 else like.new_empty(N, H, T, E).transpose(1, 2)
