"""Tokens of one hash round in sorted order, cut into chunks that look one chunk back.

Rows (one head of one sequence each) lie one after the other, so that the windows of all of them are one view. A row's
first chunk then looks back into the row before, where everything is hidden from it.

Letters beside the usual ones: n rows at a time; L tokens of a row rounded up to whole chunks of m; G = n L / m chunks,
k of them at a time; W keys in a window (2 m, or m where a row is one chunk).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from attention_arena.layers import Scratch, processor_of
from attention_arena_variants.reformer.layout import Layout, Rules, invert

TOKENS_AT_ONCE = {"cpu": 2**13}
"""Tokens sorted at a time, in whole rows; elsewhere 2^22."""

SCORES_AT_ONCE = {"cpu": 2**18}
"""Scores in memory at a time: what fits the cache of one core; elsewhere a quarter of a gigabyte."""


class Cut(NamedTuple):
    """How a row is cut into chunks."""

    chunk: int
    """Tokens in a chunk (m)."""
    n_chunks: int
    """Chunks in a row."""
    look_back: int
    """Keys in front of a row's first chunk: m, or 0 where a row is one chunk."""

    @classmethod
    def of(cls, length: int, chunk: int) -> Cut:
        """Cut rows of `length` tokens."""
        n_chunks = math.ceil(length / chunk)
        return cls(chunk, n_chunks, chunk if n_chunks > 1 else 0)

    @property
    def length(self) -> int:
        """Places in a row (L)."""
        return self.n_chunks * self.chunk

    @property
    def width(self) -> int:
        """Keys in a window (W)."""
        return self.look_back + self.chunk

    def chunks(self, x: Tensor) -> Tensor:
        """Return `x` (n L, ...) as a view (G, m, ...)."""
        return torch.unflatten(x, 0, (-1, self.chunk))

    def windows(self, x: Tensor) -> Tensor:
        """Return `x` (look-back + n L, ...) as a view (G, W, ...) of overlapping windows."""
        return x.unfold(0, self.width, self.chunk).movedim(-1, 1)

    def look_back_from(self, x: Tensor) -> Tensor:
        """Return `x` (n L) with its last chunk in front as well, (look-back + n L)."""
        return torch.cat([x[len(x) - self.look_back :], x])


class Rows(NamedTuple):
    """Some heads of one sequence, or all heads of some sequences: b times h, n in all."""

    batch: slice
    heads: slice

    def by_token(self, x: Tensor) -> Tensor:
        """Return these rows of `x` (B, T, H, E) as a view (b, h, T, E)."""
        return x[self.batch, :, self.heads].transpose(1, 2)

    def by_head(self, x: Tensor) -> Tensor:
        """Return these rows of `x` (B, H, ...) as a view (b, h, ...)."""
        return x[self.batch, self.heads]


def some_rows(B: int, H: int, T: int, rules: Rules, device: torch.device) -> Iterator[Rows]:
    """Yield all rows, some at a time."""
    n = max(1, TOKENS_AT_ONCE.get(processor_of(device), 2**22) // T)
    if rules.wrap:
        # A first chunk then looks back to the end of its own row, so that no other row may lie in front.
        n = 1
    b, h = max(1, n // H), min(H, n)
    for batch in range(0, B, b):
        for head in range(0, H, h):
            yield Rows(slice(batch, min(batch + b, B)), slice(head, min(head + h, H)))


class SortedRows:
    """Some rows of one round: where their tokens go, and which pairs of theirs count.

    A key is hidden from a query where it is padding, later (in causal models), proposed by an earlier round already, or
    in another bucket (where buckets restrict).
    """

    def __init__(self, layout: Layout, rules: Rules, rows: Rows, r: int) -> None:
        self.rules, self.rows = rules, rows
        order = self._of_round(layout.order, r).long()  # (n, T)
        n, self.length = order.shape
        self.cut = Cut.of(self.length, rules.chunk)
        self.places = functional.pad(order, (0, self.cut.length - self.length))  # (n, L)
        before = torch.arange(0, n * self.cut.length, self.cut.length, device=order.device).unsqueeze(-1)
        self.ranks = (invert(order) + before).flatten()  # (n T)
        self.kept = None if layout.kept is None else self._of_round(layout.kept, r)  # (n, m, W)
        self.positions = self._positions(layout)
        self.own_codes = self._codes(layout, r) if rules.coded else None
        # Then what stands in front of a row is all that is hidden, and masks of every pair are not needed.
        self.is_open = not (
            rules.causal or rules.coded or rules.wrap or layout.valid is not None or self.cut.length > self.length
        ) and (r == 0 or not rules.duplicate_correction)
        self.earlier_codes = [self._codes(layout, other) for other in range(r if rules.duplicate_correction else 0)]

    def gather(self, x: Tensor, part: int, into: Tensor) -> Tensor:
        """Fill `into` (n L, E), or (look-back + n L, E), with part `part` of `x` (B, T, parts, H, E), and return it."""
        B, T, n_parts, H, E = x.shape
        row = torch.arange(B, device=x.device)[self.rows.batch, None] * (T * n_parts * H)
        row = row + torch.arange(part * H, (part + 1) * H, device=x.device)[self.rows.heads]  # (b, h)
        index = (self.places * (n_parts * H) + row.view(-1, 1)).flatten()  # (n L)
        if len(into) > len(index):
            index = self.cut.look_back_from(index)
        flat = x.view(-1, E)
        if flat.dtype == into.dtype:
            return torch.index_select(flat, 0, index, out=into)
        return into.copy_(flat.index_select(0, index))

    def sort(self, x: Tensor, beyond: float) -> Tensor:
        """Return numbers `x` (n, T) in sorted order, (G, m, 1), with `beyond` where a row has no more tokens."""
        x = x.gather(1, self.places)
        x[:, self.length :] = beyond
        return self.cut.chunks(x.flatten()).unsqueeze(-1)

    def unsort(self, x: Tensor, into: Tensor | None = None) -> Tensor:
        """Return `x` (n L, ...) by position, (n, T, ...), in the memory of `into` where it is given."""
        found = torch.index_select(x, 0, self.ranks, out=None if into is None else into.flatten(0, 1))
        return torch.unflatten(found, 0, (-1, self.length))

    def own(self, x: Tensor) -> Tensor:
        """Return `x` (look-back + n L, E) with what stands in front added where it was taken from, (n L, E)."""
        front, own = x[: self.cut.look_back], x[self.cut.look_back :]
        own[len(own) - self.cut.look_back :] += front
        return own

    def pieces(self) -> Iterator[slice]:
        """Yield all chunks, some at a time."""
        at_once = SCORES_AT_ONCE.get(processor_of(self.places), 2**26)
        k, n_chunks = max(1, at_once // (self.cut.chunk * self.cut.width)), self.places.numel() // self.cut.chunk
        for start in range(0, n_chunks, k):
            yield slice(start, min(start + k, n_chunks))

    def below(self, piece: slice, scratch: Scratch) -> Tensor:
        """Return 0 where the queries of some chunks may attend and less elsewhere, integers (k, m or 1, W)."""
        of_query, of_key = (x[piece] for x in self.positions)
        size = len(of_key), self.cut.chunk, self.cut.width
        whole, near, other = (scratch(name, *size, dtype=of_key.dtype) for name in ("below", "near", "other"))
        below = torch.sub(of_query, of_key, out=whole) if self.rules.causal else self.length - 1 - of_key
        if self.own_codes is not None:
            behind = self._behind(self.own_codes, piece, near)
            below = torch.minimum(below, behind.neg_().add_(self.rules.reach), out=whole)
        if self.earlier_codes:
            nearest = self._behind(self.earlier_codes[0], piece, near)
            for codes in self.earlier_codes[1:]:
                torch.minimum(nearest, self._behind(codes, piece, other), out=nearest)
            below = torch.minimum(below, nearest.sub_(self.rules.reach + 1), out=whole)
        return below.clamp_(max=0)

    def in_front(self, scores: Tensor, piece: slice) -> Tensor:
        """Return `scores` (k, m, W) of some chunks with what stands in front of a row, a view (rows, m, look-back)."""
        return scores[-piece.start % self.cut.n_chunks :: self.cut.n_chunks, :, : self.cut.look_back]

    def kept_in(self, piece: slice) -> Tensor:
        """Return which probabilities of some chunks dropout keeps, (k, m, W)."""
        assert self.kept is not None
        of_chunk = torch.arange(piece.start, piece.stop, device=self.kept.device) // self.cut.n_chunks
        return self.kept.index_select(0, of_chunk)

    def _of_round(self, x: Tensor, r: int) -> Tensor:
        """Return these rows of `x` (B, H, R, ...) in round `r`, (n, ...)."""
        return self.rows.by_head(x)[:, :, r].flatten(0, 1)

    def _positions(self, layout: Layout) -> tuple[Tensor, Tensor]:
        """Return positions of queries (G, m, 1) and keys (G, 1, W), beyond every query where a key is out for all."""
        place, T = self.places.to(layout.order.dtype), self.length
        of_key = place.clone()
        of_key[:, T:] = T
        if layout.valid is not None:
            valid = layout.valid[:, None].expand(-1, layout.order.shape[1], -1)  # (B, H, T)
            of_key.masked_fill_(~self.rows.by_head(valid).flatten(0, 1).gather(1, self.places), T)
        windows = self.cut.windows(self.cut.look_back_from(of_key.flatten())).contiguous()  # (G, W)
        if not self.rules.wrap:
            windows[:: self.cut.n_chunks, : self.cut.look_back] = T
        return self.cut.chunks(place.flatten()).unsqueeze(-1), windows.unsqueeze(1)

    def _codes(self, layout: Layout, r: int) -> tuple[Tensor, Tensor]:
        """Return codes in round `r` of queries (G, m, 1) and keys (G, 1, W)."""
        assert layout.code is not None
        code = self._of_round(layout.code, r).gather(1, self.places).flatten()  # (n L)
        return self.cut.chunks(code).unsqueeze(-1), self.cut.windows(self.cut.look_back_from(code)).unsqueeze(1)

    def _behind(self, codes: tuple[Tensor, Tensor], piece: slice, into: Tensor) -> Tensor:
        """Return how far the codes of keys are below those of queries (k, m, W); above `reach` where they are not."""
        difference = torch.sub(codes[0][piece], codes[1][piece], out=into)
        if self.rules.wrap:
            return difference.remainder_(self.cut.n_chunks)
        # Without its sign bit a negative difference is large.
        return difference.bitwise_and_(torch.iinfo(difference.dtype).max)
