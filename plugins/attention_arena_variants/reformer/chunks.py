"""Attention inside chunks of sorted tokens, each looking one chunk back (Kitaev et al. 2020, section 2).

All rounds form one softmax over the union of their candidate keys. A pair that several rounds propose counts in the
first of them alone, which equals the paper's subtraction of log N_ij (appendix A) without the R^2 counts. Forward keeps
the log of each query's total mass, and backward computes the scores again, so that nothing of size n x chunk is saved.
Scores are computed a few chunks at a time, so that they stay in the cache, in memory that is used again.

Letters as in `windows`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from attention_arena.layers import Scratch, first_order, kept_type, untracked, widened, without_autocast
from attention_arena_variants.reformer.layout import Layout, Rules
from attention_arena_variants.reformer.windows import SortedRows, some_rows

SELF_LOGIT = -1e5
"""Finite, so that a token attends to itself when it may attend to nothing else."""

SHORTEST = 1e-6
"""The key of a query shorter than this is the query divided by it, and so shorter than 1."""

HIDDEN = -1e25
"""Logit of a hidden key: below every other one, and finite even times 2^31, so that no difference is NaN."""

TOKENS_OF_PRODUCT = 512
"""Tokens whose heads are multiplied with their gradient at a time."""

LOG2_E = math.log2(math.e)
"""Logits, and logarithms of mass, are to base 2: on a CPU `exp2` is 3 times as fast as `exp`, and where many logits are
hidden up to 30 times."""


def attend_in_chunks(parts: Tensor, layout: Layout, rules: Rules) -> Tensor:
    """Return heads (B, T, H, E): softmax over the union of all rounds' windows, in at least float32.

    `parts` (B, T, 2, H, E) are query and value. Keys are queries at length `rules.scale`; logits are query times key,
    -1e5 at the token itself. A query without any key gives zeros.
    """
    return _ChunkedAttention.apply(parts.contiguous(), layout, rules)  # type: ignore[no-any-return, no-untyped-call]


class _ChunkedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parts: Tensor, layout: Layout, rules: Rules) -> Tensor:
        B, T, _, H, E = parts.shape
        work = torch.promote_types(parts.dtype, torch.float32)
        out = torch.empty(B, T, H, E, dtype=parts.dtype, device=parts.device)
        log_mass = torch.empty(B, H, T, dtype=work, device=parts.device)
        with without_autocast(parts), untracked():
            _write_heads(out, log_mass, parts, layout, rules)
        ctx.rules, ctx.dtype = rules, parts.dtype
        ctx.save_for_backward(parts.to(kept_type(parts, ctx)), out, log_mass, *layout)
        return out

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        parts, out, log_mass, *tensors = ctx.saved_tensors
        grad_parts = torch.empty_like(parts, dtype=ctx.dtype)
        with without_autocast(parts), untracked():
            parts = widened(parts, ctx.dtype)
            _write_gradients(grad_parts, parts, out, grad.contiguous(), log_mass, Layout(*tensors), ctx.rules)
        return grad_parts, None, None


def _write_heads(out: Tensor, log_mass: Tensor, parts: Tensor, layout: Layout, rules: Rules) -> None:
    """Write heads (B, T, H, E) and the logs of their mass (B, H, T)."""
    B, T, _, H, _ = parts.shape
    scratch = Scratch(log_mass.dtype, parts.device)
    for rows in some_rows(B, H, T, rules, parts.device):
        heads, mass = _attend(SortedRows(layout, rules, rows, 0), parts, "heads", scratch)
        for r in range(1, layout.order.shape[2]):
            more = _attend(SortedRows(layout, rules, rows, r), parts, "more heads", scratch)
            heads, mass = _merge(heads, mass, *more)
        if layout.valid is not None:
            # Infinite mass turns every probability of a query without keys to zero in backward.
            empty = mass < HIDDEN / 2
            heads, mass = heads.masked_fill_(empty.unsqueeze(-1), 0.0), mass.masked_fill_(empty, torch.inf)
        _put(rows.by_token(out), heads)
        _put(rows.by_head(log_mass), mass)


def _write_gradients(
    grad_parts: Tensor, parts: Tensor, out: Tensor, grad: Tensor, log_mass: Tensor, layout: Layout, rules: Rules
) -> None:
    """Write the gradient of parts (B, T, 2, H, E), given that of heads, `grad` (B, T, H, E)."""
    B, T, _, H, E = parts.shape
    scratch, along = Scratch(log_mass.dtype, parts.device), _along(out, grad)
    for rows in some_rows(B, H, T, rules, parts.device):
        mass = rows.by_head(log_mass).flatten(0, 1), rows.by_head(along).flatten(0, 1)  # (n, T) each
        total = scratch("total", 2, len(mass[0]), T, E)
        for r in range(layout.order.shape[2]):
            run = SortedRows(layout, rules, rows, r)
            for into, found in zip(total, _attend_backward(run, parts, grad, *mass, scratch), strict=True):
                if r:
                    into += run.unsort(found, scratch("unsorted", *into.shape))
                else:
                    run.unsort(found, into)
        for part, found in enumerate(total):
            _put(rows.by_token(grad_parts[:, :, part]), found)


def _put(into: Tensor, rows: Tensor) -> None:
    """Copy `rows` (n, ...) into the view `into` (b, h, ...)."""
    into.copy_(rows.view(into.shape))


def _attend(run: SortedRows, parts: Tensor, name: str, scratch: Scratch) -> tuple[Tensor, Tensor]:
    """Return the heads (n, T, E) of some rows by one round alone, as scratch `name`, and their log masses (n, T)."""
    query, keys, values = _load(run, parts, scratch)
    heads, log_mass = scratch("sorted heads", *query.shape), scratch("mass", *query.shape[:2], 1)
    for piece in run.pieces():
        scores = _scores(run, piece, query, keys, scratch)
        highest = scores.amax(-1, keepdim=True)  # (k, m, 1)
        weights = scores.sub_(highest).exp2_()
        mass = weights.sum(-1, keepdim=True)
        torch.bmm(_drop(weights, run, piece), values[piece], out=heads[piece]).div_(mass)
        torch.add(highest, mass.log2_(), out=log_mass[piece])
    into = scratch(name, len(run.places), run.length, heads.shape[-1])
    return run.unsort(heads.flatten(0, 1), into), run.unsort(log_mass.flatten())


def _merge(heads: Tensor, mass: Tensor, more_heads: Tensor, more_mass: Tensor) -> tuple[Tensor, Tensor]:
    """Return heads and log masses of two disjoint sets of keys together; changes `heads` and `more_mass`."""
    total = torch.logaddexp2(mass, more_mass)
    return heads.lerp_(more_heads, more_mass.sub_(total).exp2_().unsqueeze(-1)), total


def _along(out: Tensor, grad: Tensor) -> Tensor:
    """Return the products (B, H, T) of heads and their gradient (B, T, H, E), in at least float32."""
    work = torch.promote_types(out.dtype, torch.float32)
    # Some tokens at a time: a product of the whole would be as large as the heads.
    pieces = zip(torch.split(out, TOKENS_OF_PRODUCT, 1), torch.split(grad, TOKENS_OF_PRODUCT, 1), strict=True)
    return torch.cat([(heads.to(work) * of_heads).sum(-1) for heads, of_heads in pieces], dim=1).transpose(1, 2)


def _attend_backward(
    run: SortedRows, parts: Tensor, grad: Tensor, log_mass: Tensor, along: Tensor, scratch: Scratch
) -> tuple[Tensor, Tensor]:
    """Return a round's gradients of query, also through its key, and of value in sorted order, (n L, E) each.

    `log_mass` and `along`, heads times their gradient, are those of all rounds together, (n, T).
    """
    query, keys, values = _load(run, parts, scratch)
    n_places, E = query.shape[0] * query.shape[1], query.shape[2]
    heads = run.gather(grad.unsqueeze(2), 0, scratch("heads", n_places, E)).view_as(query)
    log_mass, along = run.sort(log_mass, torch.inf), run.sort(along, 0.0)  # (G, m, 1) each
    grad_query = scratch("grad_query", *query.shape)
    grad_key, grad_value = scratch("grad_pair", 2, run.cut.look_back + n_places, E)
    for piece in run.pieces():
        weights = _scores(run, piece, query, keys, scratch).sub_(log_mass[piece]).exp2_()
        grad_weights = torch.bmm(heads[piece], values[piece].mT, out=scratch("grad_weights", *weights.shape))
        grad_scores = _drop(grad_weights, run, piece).sub_(along[piece]).mul_(weights)
        _itself(grad_scores, run).zero_()
        torch.bmm(grad_scores, keys[piece], out=grad_query[piece])
        _give(grad_key, run, piece, grad_scores, query)
        _give(grad_value, run, piece, _drop(weights, run, piece), heads)
    through_key = _through_key(query.flatten(0, 1), run.own(grad_key), run.rules.scale)
    return through_key.add_(grad_query.flatten(0, 1), alpha=1 / LOG2_E), run.own(grad_value)


def _load(run: SortedRows, parts: Tensor, scratch: Scratch) -> tuple[Tensor, Tensor, Tensor]:
    """Return a run's queries (G, m, E) and the windows of its keys and values, (G, W, E) each."""
    cut = run.cut
    size = cut.look_back + run.places.numel(), parts.shape[-1]
    query = run.gather(parts, 0, scratch("query", *size))
    length = torch.linalg.vector_norm(query, dim=-1, keepdim=True).clamp_(min=SHORTEST)
    key = torch.mul(query, run.rules.scale * LOG2_E / length, out=scratch("key", *size))
    value = run.gather(parts, 1, scratch("value", *size))
    return cut.chunks(query[cut.look_back :]), cut.windows(key), cut.windows(value)


def _scores(run: SortedRows, piece: slice, query: Tensor, keys: Tensor, scratch: Scratch) -> Tensor:
    """Return the logits (k, m, W) of some chunks, to base 2 and as scratch "scores"."""
    scores = scratch("scores", len(query[piece]), run.cut.chunk, run.cut.width)
    if run.is_open:
        torch.bmm(query[piece], keys[piece].mT, out=scores)
        run.in_front(scores, piece).fill_(HIDDEN)
        _itself(scores, run).fill_(SELF_LOGIT * LOG2_E)
        return scores
    itself = _itself(run.below(piece, scores, scratch), run) * -HIDDEN + SELF_LOGIT * LOG2_E
    torch.baddbmm(scores, query[piece], keys[piece].mT, beta=-HIDDEN, out=scores)
    _itself(scores, run).copy_(itself)
    return scores


def _itself(scores: Tensor, run: SortedRows) -> Tensor:
    """Return the scores (k, m) of tokens with themselves, a view of `scores` (k, m, W)."""
    return scores.diagonal(run.cut.look_back, 1, 2)


def _drop(weights: Tensor, run: SortedRows, piece: slice) -> Tensor:
    """Drop what dropout does not keep of `weights` (k, m, W), in place."""
    return weights.mul_(run.kept_in(piece)).div_(1 - run.rules.dropout) if run.rules.dropout else weights


def _give(total: Tensor, run: SortedRows, piece: slice, scores: Tensor, rows: Tensor) -> None:
    """Add `rows` (G, m, E) times `scores` (k, m, W) to the keys in `total` (look-back + n L, E), piece after piece.

    A piece is the first to give to its own chunks, so that `total` may hold anything before.
    """
    look_back = run.cut.look_back
    torch.bmm(scores[:, :, look_back:].mT, rows[piece], out=run.cut.chunks(total[look_back:])[piece])
    if look_back:
        if piece.start == 0:
            total[:look_back].zero_()
        before = run.cut.chunks(total[:-look_back])[piece]
        torch.baddbmm(before, scores[:, :, :look_back].mT, rows[piece], out=before)


def _through_key(query: Tensor, grad_key: Tensor, scale: float) -> Tensor:
    """Return the gradient of `query` (n L, E) through its key, the query at length `scale`; writes over `grad_key`."""
    norm = torch.linalg.vector_norm(query, dim=-1, keepdim=True)
    length = norm.clamp(min=SHORTEST)
    # A key shorter than 1 is no unit vector, but a multiple of its query.
    along = (query * grad_key).sum(-1, keepdim=True).div_(length.square()).masked_fill_(norm < SHORTEST, 0.0)
    return grad_key.addcmul_(query, along, value=-1.0).mul_(scale / length)
