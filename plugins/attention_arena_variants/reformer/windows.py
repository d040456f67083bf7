"""Tokens of one hash round in sorted order, cut into chunks that look one chunk back.

Rows (one head of one sequence each) lie one after the other, so that the windows of all of them are one view. A row's
first chunk then looks back into the row before, where everything is hidden from it.

Letters beside the usual ones: n rows at a time; L tokens of a row rounded up to whole chunks of m; G = n L / m chunks,
k of them at a time; W keys in a window (2 m, or m where a row is one chunk).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from attention_arena.layers import Scratch, processor_of
from attention_arena_variants.reformer.cut import Cut
from attention_arena_variants.reformer.layout import Layout, Rules, invert

TOKENS_AT_ONCE = {"cpu": 2**13}
"""Tokens sorted at a time, in whole rows; elsewhere 2^22."""

SCORES_AT_ONCE = {"cpu": 2**18}
"""Scores in memory at a time: what fits the cache of one core; elsewhere a quarter of a gigabyte."""


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
        self.rules, self.rows, self.layout = rules, rows, layout
        order = self._of_round(layout.order, r).long()  # (n, T)
        n, self.length = order.shape
        self.cut = Cut.of(self.length, rules.chunk)
        n_more = self.cut.length - self.length
        self.places = order if n_more == 0 else functional.pad(order, (0, n_more))  # (n, L)
        self._indices: dict[int, Tensor] = {}
        before = torch.arange(0, n * self.cut.length, self.cut.length, device=order.device).unsqueeze(-1)
        self.ranks = (invert(order) + before).flatten()  # (n T)
        self.kept = None if layout.kept is None else self._of_round(layout.kept, r)  # (n, m, W)
        self.own_codes = self._codes(layout, r) if rules.coded else None
        self.earlier_codes = [self._codes(layout, other) for other in range(r if rules.duplicate_correction else 0)]
        self.is_coded = rules.coded or bool(self.earlier_codes)
        # Then what stands in front of a row is all that is hidden, and masks of every pair are not needed.
        self.is_open = not (
            rules.causal or self.is_coded or rules.wrap or layout.valid is not None or self.cut.length > self.length
        )

    def gather(self, x: Tensor, part: int, into: Tensor) -> Tensor:
        """Fill `into` (n L, E), or (look-back + n L, E), with part `part` of `x` (B, T, parts, H, E), and return it."""
        _, _, n_parts, H, E = x.shape
        if n_parts not in self._indices:
            self._indices[n_parts] = self._index(*x.shape[:4])
        index = self._indices[n_parts][-len(into) :]
        flat = x.view(-1, E)[part * H :]
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
        return found.view(-1, self.length, *x.shape[1:])

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

    def below(self, piece: slice, into: Tensor, scratch: Scratch) -> Tensor:
        """Fill `into` (k, m, W) with 0 where queries of some chunks may attend, and whole numbers below 0 elsewhere."""
        of_query, of_key = (x[piece] for x in self.positions)

        def integers(name: str) -> Tensor:
            return scratch(name, *into.shape, dtype=of_key.dtype)

        whole = integers("below") if self.is_coded else into
        below = torch.sub(of_query, of_key, out=whole) if self.rules.causal else self.length - 1 - of_key
        if self.own_codes is not None:
            behind = self._behind(self.own_codes, piece, integers("near"))
            below = torch.minimum(below, behind.neg_().add_(self.rules.reach), out=whole)
        if self.earlier_codes:
            nearest = self._behind(self.earlier_codes[0], piece, integers("near"))
            for codes in self.earlier_codes[1:]:
                torch.minimum(nearest, self._behind(codes, piece, integers("other")), out=nearest)
            below = torch.minimum(below, nearest.sub_(self.rules.reach + 1), out=whole)
        return into.copy_(below.clamp_(max=0))

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

    def _index(self, B: int, T: int, n_parts: int, H: int) -> Tensor:
        """Return which rows of (B T parts H, E) the sorted tokens of part 0 are, with the look-back in front."""
        row = torch.arange(B, device=self.places.device)[self.rows.batch, None] * (T * n_parts * H)
        row = row + torch.arange(H, device=row.device)[self.rows.heads]  # (b, h)
        return self.cut.look_back_from((self.places * (n_parts * H) + row.view(-1, 1)).flatten())

    @cached_property
    def positions(self) -> tuple[Tensor, Tensor]:
        """Positions of queries (G, m, 1) and keys (G, 1, W), beyond every query where a key is out for all."""
        layout = self.layout
        # Numbers that scores are made of, where no integers are compared with them.
        place, T = self.places.to(layout.order.dtype if self.is_coded else torch.float32), self.length
        of_key = place
        if self.cut.length > T:
            of_key = functional.pad(place[:, :T], (0, self.cut.length - T), value=T)
        if layout.valid is not None:
            valid = layout.valid[:, None].expand(-1, layout.order.shape[1], -1)  # (B, H, T)
            of_key = of_key.masked_fill(~self.rows.by_head(valid).flatten(0, 1).gather(1, self.places), T)
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
