"""Attention inside chunks of sorted tokens, each looking one chunk back (Kitaev et al. 2020, section 2).

All rounds form one softmax over the union of their candidate keys. A pair that several rounds propose counts in the
first of them alone, which equals the paper's subtraction of log N_ij (appendix A) without the R^2 counts. Forward keeps
the log of each query's total mass, and backward computes the scores again, so that nothing of size n x chunk is saved.

Letters beside the usual ones: N rows (batch times heads), n of them at a time; R hash rounds; L tokens rounded up to
whole chunks; C chunks of m tokens; W keys in a window (2 m, or m where there is one chunk).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from attention_arena_variants.reformer.hashing import sort_by_bucket, take

SELF_LOGIT = -1e5
"""Finite, so that a token attends to itself when it may attend to nothing else."""

SCORES_AT_ONCE = {"cpu": 2**19}
"""Scores in memory at a time: what fits a CPU's cache; elsewhere a quarter of a gigabyte."""


class Rules(NamedTuple):
    """Which keys of its window a query may attend to, besides what validity says."""

    chunk: int
    """Sorted tokens per chunk (m)."""
    causal: bool
    """Keys at later positions are out."""
    reach: int
    """Largest difference of codes, query less key; the smallest is 0."""
    coded: bool
    """Codes restrict a round's own window, rather than serve to find duplicates alone."""
    wrap: bool
    """The first chunk looks back to the last one of its round."""
    duplicate_correction: bool
    """A pair counts once, however many rounds propose it."""


class Layout(NamedTuple):
    """Where each round puts the tokens."""

    order: Tensor
    """(R, N, T): position of the token at each sorted place."""
    rank: Tensor
    """(R, N, T): its inverse."""
    code: Tensor
    """(R, N, T): a query may attend to keys whose code is lower by 0 to `Rules.reach`."""
    valid: Tensor | None
    """(N, T) bool: tokens that may be attended to."""
    kept: Tensor | None
    """(R, N, m, W) bool: probabilities that dropout keeps, shared over chunks."""


def lay_out(
    buckets: Tensor, n_buckets: int, valid: Tensor | None, rules: Rules, kept: Tensor | None, ranked: bool
) -> Layout:
    """Sort tokens by `buckets` (R, N, T), ids from 0 to `n_buckets`, and code their places.

    The code is the chunk. Where buckets restrict (`rules.coded`), twice the bucket is added: sorted chunks never fall,
    so codes differ by at most 1 exactly for adjacent chunks of one bucket. With `ranked` it is the sorted place, and
    buckets lie `rules.reach` + 1 apart.
    """
    order, rank = sort_by_bucket(buckets)
    code = rank if ranked else rank // rules.chunk
    if rules.coded:
        code = code + (rules.reach + 1) * buckets.long()
    largest = buckets.shape[-1] + (rules.reach + 1) * n_buckets
    return Layout(order, rank, code.to(torch.int16 if largest < 2**15 else torch.int32), valid, kept)


def attend_in_chunks(query: Tensor, key: Tensor, value: Tensor, layout: Layout, rules: Rules, dropout: float) -> Tensor:
    """Return heads (N, T, E) of query, key and value (N, T, E): softmax over the union of all rounds' windows.

    Logits are query times key, -1e5 at the token itself. A query without any key gives zeros.
    """
    return _ChunkedAttention.apply(query, key, value, layout, rules, dropout)  # type: ignore[no-any-return, no-untyped-call]


class _Block(NamedTuple):
    """Some rows of one round: sorted places and the positions they show."""

    round: int
    rows: slice
    place: Tensor
    """(n, L): positions in sorted order; 0 where L goes beyond T."""
    window_place: Tensor
    """(n, m + L) or (n, L): the same with the chunk before the first one in front."""


class _ChunkedAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: Layout, rules: Rules, dropout: float
    ) -> Tensor:
        ctx.rules, ctx.dropout = rules, dropout
        work = torch.promote_types(query.dtype, torch.float32)
        lowest = torch.finfo(work).min
        total = torch.zeros_like(value, dtype=work)
        mass = total.new_zeros(total.shape[:2])  # (N, T)
        peak = torch.full_like(mass, lowest)
        for block in _blocks(layout, rules):
            scores = _scores(*_gather(query, key, rules, block), layout, rules, block)
            highest = scores.amax(-1, keepdim=True).clamp_(min=lowest)  # (n C, m, 1)
            weights = scores.sub_(highest).exp_()
            sums = weights.sum(-1)
            weights = _drop(weights, layout, dropout, block)
            heads = torch.bmm(weights.to(value.dtype), _windows(take(value[block.rows], block.window_place), rules))
            _add_round(total, mass, peak, layout.rank[block.round], block, (heads, sums, highest))
        empty = mass == 0
        out = total.div_(mass.masked_fill(empty, 1.0).unsqueeze(-1)).to(value.dtype)
        # Infinite mass turns every probability of an empty row to zero in backward.
        log_mass = (peak + mass.log()).masked_fill_(empty, torch.inf)
        ctx.save_for_backward(query, key, value, out, log_mass, *layout)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, log_mass, *tensors = ctx.saved_tensors
        layout, rules = Layout(*tensors), ctx.rules
        work = log_mass.dtype
        along = (grad.to(work) * out.to(work)).sum(-1)  # (N, T)
        grads = [torch.zeros_like(query, dtype=work) for _ in range(3)]
        for block in _blocks(layout, rules):
            rows, T = block.rows, query.shape[1]
            log_mass_here = log_mass[rows].gather(1, block.place)
            log_mass_here[:, T:] = torch.inf
            m = rules.chunk
            sorted_query, key_windows = _gather(query, key, rules, block)
            scores = _scores(sorted_query, key_windows, layout, rules, block)
            probabilities = scores.sub_(log_mass_here.view(-1, m, 1)).exp_()
            grad_out = take(grad[rows], block.place).view(-1, m, grad.shape[-1])
            value_windows = _windows(take(value[rows], block.window_place), rules)
            grad_weights = torch.bmm(grad_out, value_windows.transpose(1, 2)).to(work)
            grad_weights = _drop(grad_weights, layout, ctx.dropout, block)
            grad_scores = grad_weights.sub_(along[rows].gather(1, block.place).view(-1, m, 1)).mul_(probabilities)
            grad_scores.diagonal(offset=_look_back(rules, block), dim1=1, dim2=2).zero_()
            weights = _drop(probabilities, layout, ctx.dropout, block).to(value.dtype)
            grad_scores = grad_scores.to(query.dtype)
            grad_query = torch.bmm(grad_scores, key_windows)
            by_window = (
                torch.bmm(grad_scores.transpose(1, 2), sorted_query),
                torch.bmm(weights.transpose(1, 2), grad_out),
            )
            rank = layout.rank[block.round, rows]
            grads[0][rows] += take(grad_query.view(*block.place.shape, -1), rank)
            for into, windows in zip(grads[1:], by_window, strict=True):
                into[rows] += _unsort_windows(windows, rank, block, rules)
        return *(into.to(query.dtype) for into in grads), None, None, None


def _blocks(layout: Layout, rules: Rules) -> Iterator[_Block]:
    R, N, T = layout.order.shape
    m = rules.chunk
    L = m * math.ceil(T / m)
    look_back = m if m < L else 0
    at_once = SCORES_AT_ONCE.get(layout.order.device.type, 2**26)
    n = max(1, at_once // (L * (m + look_back)))
    for r in range(R):
        for start in range(0, N, n):
            rows = slice(start, min(start + n, N))
            place = functional.pad(layout.order[r, rows], (0, L - T))
            yield _Block(r, rows, place, torch.cat([place[:, L - look_back :], place], dim=1))


def _look_back(rules: Rules, block: _Block) -> int:
    return block.window_place.shape[1] - block.place.shape[1]


def _windows(rows: Tensor, rules: Rules) -> Tensor:
    """Return rows (n, m + L, E) as overlapping windows (n C, W, E), without a copy where n is 1."""
    m = rules.chunk
    width = min(2 * m, rows.shape[1])
    return rows.unfold(1, width, m).transpose(-1, -2).flatten(0, 1)


def _unsort_windows(windows: Tensor, rank: Tensor, block: _Block, rules: Rules) -> Tensor:
    """Return the sum over windows of their gradients (n C, W, E) at each position, (n, T, E); changes `windows`."""
    n, L = block.place.shape
    m, look_back = rules.chunk, _look_back(rules, block)
    by_chunk = windows.view(n, L // m, m + look_back, -1)
    if look_back:
        own, before = by_chunk[:, :, look_back:], by_chunk[:, :, :look_back]
        own[:, :-1] += before[:, 1:]
        # Without wrap the first chunk's look-back has no weight, and adds zeros.
        own[:, -1] += before[:, 0]
    return take(by_chunk.flatten(1, 2), rank + look_back * (rank // m + 1))


def _gather(query: Tensor, key: Tensor, rules: Rules, block: _Block) -> tuple[Tensor, Tensor]:
    """Return a block's sorted queries (n C, m, E) and key windows (n C, W, E)."""
    sorted_query = take(query[block.rows], block.place).view(-1, rules.chunk, query.shape[-1])
    return sorted_query, _windows(take(key[block.rows], block.window_place), rules)


def _scores(sorted_query: Tensor, key_windows: Tensor, layout: Layout, rules: Rules, block: _Block) -> Tensor:
    """Return a block's logits (n C, m, W) in at least float32, -inf where a query may not attend."""
    work = torch.promote_types(sorted_query.dtype, torch.float32)
    scores = torch.bmm(sorted_query, key_windows.transpose(1, 2)).to(work)
    scores.diagonal(offset=_look_back(rules, block), dim1=1, dim2=2).fill_(SELF_LOGIT)
    return scores.masked_fill_(_blocked(layout, rules, block), -torch.inf)


def _blocked(layout: Layout, rules: Rules, block: _Block) -> Tensor:
    """Return where a block's queries may not attend, bool, broadcastable to (n C, m, W)."""
    T, look_back = layout.order.shape[-1], _look_back(rules, block)
    small = torch.int16 if T < 2**15 else torch.int32
    key_position = block.window_place.to(small)
    if layout.valid is not None:
        key_position = key_position.masked_fill(~layout.valid[block.rows].gather(1, block.window_place), T)
    key_position[:, look_back + T :] = T  # beyond every query, so that it is out in causal models too
    if look_back and rules.wrap:
        key_position[:, :look_back] = key_position[:, -look_back:]
    else:
        key_position[:, :look_back] = T
    by_window = _spread_keys(key_position, rules)  # (n C, 1, W)
    if rules.causal:
        blocked = by_window > block.place.to(small).view(-1, rules.chunk, 1)
    else:
        blocked = by_window == T
    for other in range(block.round) if rules.duplicate_correction else ():
        blocked = blocked | _proposed(layout.code[other], rules, block)
    if rules.coded:
        blocked = blocked | ~_proposed(layout.code[block.round], rules, block)
    return blocked


def _spread_keys(rows: Tensor, rules: Rules) -> Tensor:
    return _windows(rows.unsqueeze(-1), rules).transpose(1, 2)


def _proposed(code: Tensor, rules: Rules, block: _Block) -> Tensor:
    """Return which pairs of a block the round with `code` (N, T) has in its windows, (n C, m, W)."""
    of_query = code[block.rows].gather(1, block.place).view(-1, rules.chunk, 1)
    of_key = _spread_keys(code[block.rows].gather(1, block.window_place), rules)
    difference = of_query - of_key
    proposed = (difference >= 0).logical_and_(difference <= rules.reach)
    if rules.wrap:
        proposed |= difference == 1 - block.place.shape[1] // rules.chunk
    return proposed


def _drop(weights: Tensor, layout: Layout, dropout: float, block: _Block) -> Tensor:
    """Drop what `layout.kept` does not keep from `weights` (n C, m, W)."""
    if layout.kept is None:
        return weights
    kept = layout.kept[block.round, block.rows].unsqueeze(1)  # (n, 1, m, W)
    return (weights.view(len(kept), -1, *weights.shape[1:]) * kept / (1 - dropout)).view_as(weights)


def _add_round(
    total: Tensor, mass: Tensor, peak: Tensor, rank: Tensor, block: _Block, found: tuple[Tensor, Tensor, Tensor]
) -> None:
    """Add a block's heads, sums and highest logits, all in sorted order, to the running totals of its rows."""
    rows, rank = block.rows, rank[block.rows]
    heads = take(found[0].view(*block.place.shape, -1), rank)  # (n, T, E)
    sums, highest = (part.view(block.place.shape).gather(1, rank) for part in found[1:])  # (n, T) each
    higher = torch.maximum(peak[rows], highest)
    old, new = (peak[rows] - higher).exp_(), (highest - higher).exp_()
    total[rows] = total[rows].mul_(old.unsqueeze(-1)).addcmul_(heads.to(total.dtype), new.unsqueeze(-1))
    mass[rows] = mass[rows].mul_(old).addcmul_(sums, new)
    peak[rows] = higher
