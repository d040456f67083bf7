"""One softmax over several sets of keys, each computed in the layout in which it is dense.

A query's keys may be its block, the block before, every l-th position and a few global tokens: sets that no single
dense product covers. Each set is a `Part`, computed by itself with the logarithm of its mass; the parts are then
weighed by their masses, which is the softmax over their union. No pair may be in two parts. Backward passes through
each part with the mass of the whole, so it holds scores of one part at a time.

Letters beside the usual ones: N layout rows (batch times blocks); P queries and Q keys of a layout row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attention_arena.layers.autograd import first_order, untracked
from attention_arena.layers.half_precision import kept_type, widened
from attention_arena.layers.kernels import FUSED, Found, Kernel, PlainKernel, Rows
from attention_arena.layers.layouts import Layout, Tiling
from attention_arena.layers.masks import add_where, hidden_score


class Part(NamedTuple):
    """A set of keys: row by row, the queries of one layout attend to the keys of another.

    - `allowed`, broadcastable to (N, H, P, Q): which pairs count, bool, or what `add_where` makes of those that do not,
      in the type of scores, where one mask serves many calls; None means all.
    - `tiles`: what is found is put in place, not added to what is there, which saves passes through memory. If any
      part tiles, then those that do name each token once as a query, put each once as a key, and come before the other
      parts that name it.
    - `sequences`: those of the batch that the part is about, and of which its layouts and its N speak; None means all.
    """

    queries: Tiling
    keys: Layout
    allowed: Tensor | None = None
    tiles: bool = False
    sequences: slice | None = None


def attend_union(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    parts: Sequence[Part],
    *,
    scale: float | None = None,
    dropout: float = 0,
) -> Tensor:
    """Return heads (B, H, T, E): for each query one softmax over the keys of all its parts.

    Query, key and value are (B, H, T, E); keys and values may have another length. Scores are multiplied by `scale`
    (None: 1 / sqrt(E)), and computed in at least float32. A query without any key gives zeros.
    """
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    heads = (x.transpose(1, 2) for x in (query, key, value))
    found: Tensor = _Union.apply(parts, factor, dropout, *heads)  # type: ignore[no-untyped-call]
    return found.transpose(1, 2)


def attend_projected(projected: Tensor, parts: Sequence[Part]) -> Tensor:
    """Return heads (B, T, H, E) of query, key and value in one tensor (B, T, 3, H, E), whose gradient is one too."""
    factor = projected.shape[-1] ** -0.5
    return _Union.apply(parts, factor, 0.0, projected)  # type: ignore[no-any-return, no-untyped-call]


class _Union(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parts: Sequence[Part], scale: float, dropout: float, *inputs: Tensor) -> Tensor:
        of_query, of_key, of_value = _unpacked(inputs)  # (B, T, H, E) each
        kernel: Kernel = FUSED if not dropout and FUSED.serves(of_query) else PlainKernel(dropout)
        work = torch.promote_types(of_query.dtype, torch.float32)
        out = _start(parts, of_query.shape, work, of_query.device)
        log_mass = out.new_full((*out.shape[:3], 1), hidden_score(work))  # (B, T, H, 1)
        masks = [_added(part.allowed, work) for part in parts]
        with untracked():
            kept = _attend_parts(out, log_mass, parts, kernel, (of_query, of_key, of_value), masks, scale)
        empty = log_mass < hidden_score(work) / 2
        if out.device.type != "cpu" or empty.any():  # Elsewhere one would have to wait for the answer.
            # Infinite mass turns every probability of an empty row to zero in backward.
            log_mass.masked_fill_(empty, torch.inf)
            out.masked_fill_(empty, 0.0)
        out, keep_in = out.to(of_query.dtype), kept_type(of_query, ctx)
        ctx.save_for_backward(out, log_mass, *(x.to(keep_in) for x in inputs), *masks, *kept)
        ctx.kernel, ctx.scale, ctx.n_inputs, ctx.dtype = kernel, scale, len(inputs), of_query.dtype
        ctx.parts = [part._replace(allowed=None) for part in parts]
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        out, log_mass, *rest = ctx.saved_tensors
        inputs, rules = rest[: ctx.n_inputs], rest[ctx.n_inputs :]
        totals = [_start(ctx.parts, x.shape, log_mass.dtype, x.device) for x in inputs]
        with untracked():
            heads = [widened(x, ctx.dtype) for x in (*_unpacked(inputs), grad, out)]
            _find_gradients(_unpacked(totals), heads, log_mass, rules, ctx)
        return (None, None, None, *(total.to(ctx.dtype) for total in totals))


def _attend_parts(
    out: Tensor,
    log_mass: Tensor,
    parts: Sequence[Part],
    kernel: Kernel,
    heads: Sequence[Tensor],
    masks: Sequence[Tensor | None],
    scale: float,
) -> list[Tensor | None]:
    """Write heads (B, T, H, E) and log mass (B, T, H, 1); return which weights of each part dropout kept."""
    drawn = []
    for part, mask in zip(parts, masks, strict=True):
        if not isinstance(part.queries, Tiling):
            raise TypeError(
                f"{part.queries} are keys of a part, never its queries: those are a Tiling, each named once"
            )
        of_query, of_key, of_value, of_out, of_mass = _chosen(part, *heads, out, log_mass)
        work = kernel.type_of(of_query.dtype)
        (q,), (k, v) = _heads_first(part.queries, work, of_query), _heads_first(part.keys, work, of_key, of_value)
        kept = kernel.draw_kept(q, k)
        drawn.append(kept)
        found, mass = kernel.forward(Rows(q, k, v, mask, kept, scale))
        found, mass = found.transpose(1, 2), mass.transpose(1, 2).unsqueeze(-1)
        if part.tiles:
            part.queries.put(of_out, found)
            part.queries.put(of_mass, mass)
        else:
            _merge(of_out, of_mass, part.queries, found, mass)
    return drawn


def _find_gradients(
    totals: Sequence[Tensor],
    heads: Sequence[Tensor],
    log_mass: Tensor,
    rules: Sequence[Tensor | None],
    ctx: Any,
) -> None:
    """Enter the gradients of query, key and value into `totals`, (B, T, H, E) each, part by part.

    `heads` are query, key, value, the gradient of what was found, and what was found.
    """
    n_parts, work = len(ctx.parts), ctx.kernel.type_of(heads[0].dtype)
    for part, mask, kept in zip(ctx.parts, rules[:n_parts], rules[n_parts:], strict=True):
        of_query, of_key, of_value, grad_of, out_of, of_mass = _chosen(part, *heads, log_mass)
        q, g, o = _heads_first(part.queries, work, of_query, grad_of, out_of)
        (mass,) = _heads_first(part.queries, of_mass.dtype, of_mass)
        k, v = _heads_first(part.keys, work, of_key, of_value)
        found = ctx.kernel.backward(Rows(q, k, v, mask, kept, ctx.scale), Found(g, o, mass))
        layouts = (part.queries, part.keys, part.keys)
        for total, layout, gradient in zip(_chosen(part, *totals), layouts, found, strict=True):
            enter = layout.put if part.tiles else layout.give
            enter(total, gradient.transpose(1, 2))


def _added(allowed: Tensor | None, work: torch.dtype) -> Tensor | None:
    """Return what is added to scores, of four dimensions; `allowed` may be that already."""
    if allowed is None:
        return None
    added = add_where(~allowed, work) if allowed.dtype == torch.bool else allowed
    return added[(None,) * (4 - added.dim())]


def _chosen(part: Part, *tensors: Tensor) -> Sequence[Tensor]:
    """Return what `tensors` (B, ...) have of the part's sequences, as views."""
    return tensors if part.sequences is None else [x[part.sequences] for x in tensors]


def _unpacked(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return query, key and value (B, T, H, E), which may come in one tensor (B, T, 3, H, E)."""
    return tensors[0].unbind(2) if len(tensors) == 1 else tensors


def _start(parts: Sequence[Part], shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return what parts are entered into: zeros, unless some parts write all of it before others add."""
    tiled = any(part.tiles for part in parts)
    return (torch.empty if tiled else torch.zeros)(shape, dtype=dtype, device=device)


def _heads_first(layout: Layout, dtype: torch.dtype, *tensors: Tensor) -> list[Tensor]:
    return [layout.take(x, dtype).transpose(1, 2) for x in tensors]  # (N, H, P, C) each


def _merge(out: Tensor, log_mass: Tensor, layout: Tiling, found: Tensor, mass: Tensor) -> None:
    """Weigh a part's heads (N, P, H, E) and their log mass (N, P, H, 1) into the totals."""
    total, before = layout.tiles(out), layout.tiles(log_mass)
    found, mass = found.to(total.dtype).view(total.shape), mass.view(before.shape)
    after = torch.logaddexp(before, mass)
    total.lerp_(found, mass.sub(after).exp_())
    before.copy_(after)
