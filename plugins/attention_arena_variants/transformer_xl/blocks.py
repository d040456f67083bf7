"""Attention with relative positions, tile by tile, each small enough for a processor's cache.

The matrix of scores never exists as a whole: a tile's scores are computed, turned into probabilities and used up, and
computed again in backward, which so needs the inputs alone. A tile takes 3 products forward and 8 backward.

Further letters: P queries and Q keys of a tile; R matrices of scores in it (heads, rows of the batch, segments); w
distances in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attention_arena.layers import first_order, kept_type, without_autocast
from attention_arena_variants.transformer_xl.relative import Positions, shift
from attention_arena_variants.transformer_xl.tiles import Tile, add_product, tiles, work_type
from attention_arena_variants.transformer_xl.windows import Windows


def attend_in_blocks(
    query: Tensor,
    present: Tensor,
    past: Tensor,
    positions: Positions | None,
    windows: Windows,
    valid: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Return heads (B, T, H, E) of `query` (B, T, H, E) over the keys and values (B, S, 2, H, E) in its windows.

    `present` and `past` hold the same numbers: the gradient of keys in a query's own segment goes to the former, that
    of keys before it to the latter. Keys outside `valid` (B, S) count for nothing; a query without any key gives
    zeros. `dropout` is that of probabilities. The fast form of `attend_plainly`.
    """
    learned = (None, None, None) if positions is None else positions
    return _Blocks.apply(  # type: ignore[no-any-return, no-untyped-call]
        query, present, past, *learned, valid, windows, dropout
    )


class _Given(NamedTuple):
    """What forward is given and backward gets again; `keys` stands for `present` and `past`, which hold one content."""

    query: Tensor
    keys: Tensor
    vectors: Tensor | None
    of_content: Tensor | None
    of_position: Tensor | None
    valid: Tensor | None

    def laid_out(self, dtype: torch.dtype) -> _Given:
        """Return the same in a type, laid out as tiles are taken."""
        vectors = None if self.vectors is None else self.vectors.mT.to(dtype).contiguous().mT
        return self._replace(query=_by_heads(self.query, dtype), keys=_by_heads(self.keys, dtype), vectors=vectors)

    def in_type(self, dtype: torch.dtype) -> _Given:
        """Return the same with query and keys in a type."""
        return self._replace(query=self.query.to(dtype), keys=self.keys.to(dtype))

    def compared(self) -> _Compared:
        """Return what keys and vectors are compared with: the query, a bias added, scaled."""
        scale, work = _scale(self.query), work_type(self.query)

        def lift(bias: Tensor | None) -> Tensor:
            lifted = self.query.to(work) if bias is None else self.query + bias
            return (lifted * scale).to(work)

        return _Compared(lift(self.of_content), None if self.vectors is None else lift(self.of_position))


class _Compared(NamedTuple):
    """What keys are compared with, and what vectors, (B, T, H, E) each; or the gradients of these."""

    content: Tensor
    position: Tensor | None


class _Blocks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, present: Tensor, past: Tensor, *rest: Any) -> Tensor:
        vectors, of_content, of_position, valid, windows, dropout = rest
        as_given = _Given(query, present, vectors, of_content, of_position, valid)
        given = as_given.laid_out(work_type(query))
        compared = given.compared()
        keep_in = kept_type(query, ctx)
        heads = torch.empty(query.shape, dtype=query.dtype, device=query.device)
        drawn = []
        with without_autocast(query):
            for tile in tiles(windows, query):
                weights = _probabilities(given, compared, tile)
                if dropout:
                    drawn.append(torch.rand(weights.shape, device=query.device) >= dropout)
                    weights = _drop(weights, drawn[-1], dropout)
                value = tile.keys(given.keys[:, :, 1]).flatten(0, 2).to(compared.content.dtype)
                tile.put(heads, torch.bmm(weights.to(value.dtype), value))
        # What is of another type than the products would only be another copy.
        again = given if given.query.dtype == keep_in else as_given.in_type(keep_in)
        ctx.save_for_backward(*again, *drawn)
        ctx.windows, ctx.dropout = windows, dropout
        ctx.types = query.dtype, None if vectors is None else vectors.dtype
        return heads

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        n_given = len(_Given._fields)
        as_given, drawn = _Given(*saved[:n_given]), iter(saved[n_given:])
        # Not in the type of the products: beside the gradients that would be more memory than float32 takes.
        given = as_given.laid_out(as_given.query.dtype)
        compared, grad = given.compared(), _by_heads(grad, given.query.dtype)
        totals = _Totals.of(given, compared, ctx.needs_input_grad[2])
        with without_autocast(grad):
            for tile in tiles(ctx.windows, given.query):
                _add_gradients(given, grad, tile, totals, next(drawn, None), ctx.dropout)
        del given, grad  # Gradients take memory in their turn.
        return (*totals.gradients(as_given, *ctx.types), None, None, None)


class _Totals(NamedTuple):
    """Gradients, summed in at least float32."""

    compared: _Compared
    present: Tensor
    past: Tensor | None
    vectors: Tensor | None
    """(H, W, E), because products into it are faster this way round."""

    @classmethod
    def of(cls, given: _Given, compared: _Compared, has_past: bool) -> _Totals:
        """Return totals of zero; gradients of what is compared are written over it, as each query is in one tile."""

        def zeros(like: Tensor) -> Tensor:
            return torch.zeros(like.shape, dtype=_precise(like), device=like.device)

        vectors = None if given.vectors is None else zeros(given.vectors.mT)
        return cls(compared, zeros(given.keys), zeros(given.keys) if has_past else None, vectors)

    def of_part(self, part: int) -> tuple[Tensor, Tensor | None]:
        """Return those of keys (part 0) or values (1), present and past, (B, S, H, E) each."""
        return self.present[:, :, part], None if self.past is None else self.past[:, :, part]

    def gradients(
        self, given: _Given, of_heads: torch.dtype, of_vectors: torch.dtype | None
    ) -> Iterator[Tensor | None]:
        """Yield the gradients of the query, present, past, vectors and biases, those of heads and vectors in a type."""
        content, position = self.compared
        scale = _scale(content)
        biases = [
            None if bias is None or part is None else part.sum((0, 1), dtype=_precise(part)).mul_(scale).to(bias.dtype)
            for bias, part in ((given.of_content, content), (given.of_position, position))
        ]
        yield (content if position is None else content.add_(position)).mul_(scale).to(of_heads)
        for total in (self.present, self.past):
            yield None if total is None else total.to(of_heads)
        yield None if self.vectors is None else self.vectors.mT.to(of_vectors)
        yield from biases


def _add_gradients(
    given: _Given, grad: Tensor, tile: Tile, totals: _Totals, kept: Tensor | None, dropout: float
) -> None:
    """Add a tile's gradients to `totals`; `grad` (B, T, H, E) is that of the heads."""
    compared = totals.compared
    probabilities = _probabilities(given, compared, tile)  # (R, P, Q)
    work = compared.content.dtype
    key, value = (tile.keys(part).flatten(0, 2).to(work) for part in given.keys.unbind(2))  # (R, Q, E)
    g = tile.queries(grad).flatten(0, 2).to(work)  # (R, P, E)
    grad_weights, weights = torch.bmm(g, value.mT).to(probabilities.dtype), probabilities
    if kept is not None:
        grad_weights, weights = _drop(grad_weights, kept, dropout), _drop(probabilities, kept, dropout)
    tile.add_to_keys(*totals.of_part(1), weights.to(g.dtype).mT, g)
    scores = torch._softmax_backward_data(grad_weights, probabilities, -1, probabilities.dtype).to(key.dtype)
    content = tile.queries(compared.content).flatten(0, 2)
    tile.add_to_keys(*totals.of_part(0), scores.mT, content)
    tile.put(compared.content, torch.bmm(scores, key))
    if compared.position is None:
        return
    assert given.vectors is not None
    assert totals.vectors is not None
    position = tile.queries(compared.position).flatten(1, 3)  # (h, b n P, E)
    by_distance = _unshift(scores, tile.n_distances).view(len(position), -1, tile.n_distances)  # (h, b n P, w)
    add_product(tile.distances(totals.vectors.mT).mT, by_distance.mT, position)
    tile.put(compared.position, torch.bmm(by_distance, tile.distances(given.vectors).to(work).mT))


def _by_heads(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return `x` (B, T, ..., H, E) in a type, laid out head by head: a tile's rows are then neighbours in memory."""
    moved = x.movedim(1, -2)
    return moved.to(dtype, memory_format=torch.contiguous_format).contiguous().movedim(-2, 1)


def _precise(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _scale(query: Tensor) -> float:
    return float(query.shape[-1] ** -0.5)


def _probabilities(given: _Given, compared: _Compared, tile: Tile) -> Tensor:
    """Return probabilities (R, P, Q) in at least float32; zeros where a query has no key."""
    scores = _scores(given, compared, tile)
    _hide_keys(scores, tile)
    if given.valid is None:
        return torch.softmax(scores, -1)
    valid = tile.valid(given.valid)  # (1, b n, 1, Q)
    torch.unflatten(scores, 0, (-1, valid.shape[1])).masked_fill_(~valid, -torch.inf)
    has_no_key = scores.amax(-1, keepdim=True) == -torch.inf
    return torch.softmax(scores, -1).masked_fill_(has_no_key, 0.0)


def _scores(given: _Given, compared: _Compared, tile: Tile) -> Tensor:
    """Return scores (R, P, Q) in at least float32; those of hidden keys have no meaning yet."""
    content = tile.queries(compared.content).flatten(0, 2)  # (R, P, E)
    key = tile.keys(given.keys[:, :, 0]).flatten(0, 2).to(content.dtype)  # (R, Q, E)
    if compared.position is None or given.vectors is None:
        return torch.bmm(content, key.mT).to(_precise(key))
    position = tile.queries(compared.position).flatten(1, 3)  # (h, b n P, E)
    by_distance = torch.bmm(position, tile.distances(given.vectors).to(position.dtype))  # (h, b n P, w)
    scores = shift(by_distance.view(*content.shape[:2], -1), key.shape[1])
    if key.dtype == _precise(key):
        return torch.baddbmm(scores, content, key.mT, out=scores)
    return torch.bmm(content, key.mT).to(_precise(key)).add_(scores)


def _unshift(scores: Tensor, n_distances: int) -> Tensor:
    """Return scores by key (R, P, Q) as scores by distance (R, P, w), with zeros for distances that a row lacks."""
    R, P, Q = scores.shape
    by_distance = scores.new_empty(R, P, n_distances)
    numbers = by_distance.flatten(1)
    numbers[:, : P - 1] = 0.0
    numbers[:, -1] = 0.0
    shift(by_distance, n_distances - 1)[..., Q:] = 0.0
    shift(by_distance, Q).copy_(scores)
    return by_distance


def _hide_keys(scores: Tensor, tile: Tile) -> None:
    """Hide keys after the query, and keys too far before it, in `scores` (R, P, Q)."""
    P, Q = scores.shape[1:]
    lag, span = tile.block.lag, tile.windows.span
    if tile.windows.causal:
        # The block ends with its last query's own key, so only its last P columns hold later ones.
        scores[..., Q - P :].masked_fill_(torch.ones(P, P, dtype=torch.bool, device=scores.device).triu(1), -torch.inf)
    if span is not None and lag + P > span:
        far = torch.ones(P, lag + P - span, dtype=torch.bool, device=scores.device).tril(lag - span)
        scores[..., : lag + P - span].masked_fill_(far, -torch.inf)


def _drop(weights: Tensor, kept: Tensor, dropout: float) -> Tensor:
    return (weights * kept).div_(1 - dropout)
