"""Sparse attention (Child et al. 2019, section 4): each head attends to the few positions that a pattern allows.

With two patterns of about sqrt(n) keys each, in turn or together, any token reaches any earlier one in two steps.
`attend_masked` is the softmax over the allowed pairs, and the specification; it holds the n x n matrix.
`SparseAttention.attend` is the same function through the dense products that a pattern's parts name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from attention_arena.layers import (
    AttentionOutput,
    HeadAttention,
    Linear,
    attend_projected,
    attend_union,
    rotate,
)
from attention_arena.variant import Context, ModelShape, State
from attention_arena_variants.sparse.parts import lay_out
from attention_arena_variants.sparse.pattern import Pattern


def attend_masked(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor) -> Tensor:
    """Return heads (B, H, T, E): softmax(query key^T / sqrt(width)) value over the pairs `allowed`, True at them.

    `allowed` broadcasts to (B, H, T, S). Query and key may be narrower than value. Softmax in at least float32; a query
    without any key gives zeros.
    """
    scores = (query @ key.transpose(-1, -2)) * query.shape[-1] ** -0.5  # (B, H, T, S)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32)).masked_fill(~allowed, -torch.inf)
    probabilities = scores.softmax(-1).masked_fill(~allowed.any(-1, keepdim=True), 0.0)
    heads: Tensor = probabilities.to(value.dtype) @ value  # (B, H, T, E)
    return heads


def attend_pattern(pattern: Pattern, query: Tensor, key: Tensor, value: Tensor, valid: Tensor | None) -> Tensor:
    """Return what `attend_masked` does over the pairs of `pattern` with keys in `valid` (B, T), without the matrix."""
    T, E = value.shape[2:]
    scale = query.shape[-1] ** -0.5
    parts, length = lay_out(pattern, value.transpose(1, 2), valid)
    query, key, value = (pad_to(part, length, E) for part in (query, key, value))
    heads = attend_union(query, key, value, parts, scale=scale)
    return heads if length == T else heads[:, :, :T]


def attend_pattern_of(pattern: Pattern, projected: Tensor, valid: Tensor | None) -> Tensor:
    """Return heads (B, T, H, E) of query, key and value in one tensor (B, T, 3, H, E), as `attend_pattern` does."""
    T = projected.shape[1]
    parts, length = lay_out(pattern, projected[:, :, 0], valid)
    if length == T:
        return attend_projected(projected, parts)
    return attend_projected(functional.pad(projected, (0, 0) * 3 + (0, length - T)), parts)[:, :T]


def pad_to(heads: Tensor, length: int, width: int) -> Tensor:
    """Return `heads` (B, H, T, E) with zeros up to `length` tokens and `width` numbers for each."""
    _, _, T, E = heads.shape
    if length == T and width == E:
        return heads
    # Tokens before heads, in memory too, so that blocks of a batch are views.
    return functional.pad(heads.transpose(1, 2), (0, width - E, 0, 0, 0, length - T)).transpose(1, 2)


def group_heads(patterns: Sequence[Pattern]) -> dict[Pattern, list[int]]:
    """Return the heads of each pattern; of one that several have, at equal distances."""
    groups: dict[Pattern, list[int]] = {}
    for head, pattern in enumerate(patterns):
        groups.setdefault(pattern, []).append(head)
    return groups


class Recalled(NamedTuple):
    """Positions (S,), on the CPU, and their keys and values, (B, H, S, E) each."""

    positions: Tensor
    key: Tensor
    value: Tensor

    def then(self, later: Recalled) -> Recalled:
        """Return these positions and the later ones."""
        return Recalled(
            torch.cat([self.positions, later.positions]),
            torch.cat([self.key, later.key], dim=2),
            torch.cat([self.value, later.value], dim=2),
        )

    def only(self, wanted: Tensor) -> Recalled:
        """Return the positions at which `wanted` (S,) is true."""
        if wanted.all():
            return self
        index = wanted.nonzero().squeeze(-1)
        on_device = index.to(self.key.device)
        return Recalled(
            self.positions[index], self.key.index_select(2, on_device), self.value.index_select(2, on_device)
        )


class SparseAttention(HeadAttention):
    """Attention in which head h allows the pairs of `patterns[h]`; query and key of a head are `d_query` wide."""

    def __init__(self, shape: ModelShape, patterns: Sequence[Pattern], d_query: int) -> None:
        super().__init__(shape)
        self.patterns = tuple(patterns)
        self.groups = group_heads(self.patterns)
        self.d_query = d_query
        if d_query != shape.d_head:
            self.project_in = Linear(shape.d_model, 2 * shape.n_heads * d_query, bias=False, wide=True)
            self.project_value = Linear(shape.d_model, shape.d_model, bias=False, wide=True)
            for part in (*self.project_in.weight.chunk(2), self.project_value.weight):
                nn.init.xavier_uniform_(part)

    def allowed(self, query: Tensor, key: Tensor) -> Tensor:
        """Return which pairs of positions (T,) and (S,) count for each head, (H, T, S) bool."""
        return torch.stack([pattern.allows(query[:, None], key) for pattern in self.patterns])

    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        """Attend over normalised hidden states (B, T, D)."""
        if len(self.groups) > 1 or self.rotary or self.d_query * self.n_heads != x.shape[-1]:
            return super().forward(x, context)
        # Query, key and value stay in one tensor, and so does their gradient.
        projected = torch.unflatten(self.project_in(x), -1, (3, self.n_heads, -1))
        heads = attend_pattern_of(self.patterns[0], projected, context.valid)
        return AttentionOutput(self.project_out(heads.flatten(2)))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        """Attend to the allowed and valid positions, heads of one pattern at a time."""
        if len(self.groups) == 1:
            return attend_pattern(self.patterns[0], query, key, value, context.valid)
        heads: list[Tensor] = [value] * self.n_heads
        for pattern, members in self.groups.items():
            step = members[1] - members[0] if len(members) > 1 else 1
            chosen = slice(members[0], members[-1] + 1, step)
            found = attend_pattern(pattern, query[:, chosen], key[:, chosen], value[:, chosen], context.valid)
            for head, of_head in zip(members, found.unbind(1), strict=True):
                heads[head] = of_head
        return torch.stack(heads, dim=2).transpose(1, 2)  # in memory as the output projection reads it

    def attend_step(
        self, query: Tensor, key: Tensor, value: Tensor, position: int, kept: State | None
    ) -> tuple[Tensor, State]:
        """Attend from the last token to those that its patterns allow.

        Kept are the tokens of the block that is not yet full, and of full ones what some later query may attend to: all
        for the strided pattern's far set, the last window for its near set alone, the summary cells for the fixed one.
        """
        closed, opened = kept if kept is not None else (None, None)
        latest = Recalled(torch.tensor([position]), key, value)
        opened = latest if opened is None else opened.then(latest)
        seen = self._seen(opened, position)
        if closed is not None:
            seen = self._seen(closed, position).then(seen)
        allowed = self.allowed(latest.positions, seen.positions).to(query.device)  # (H, 1, S)
        heads = attend_masked(query, seen.key, seen.value, allowed)
        if (position + 1) % self.patterns[0].stride == 0:
            closed, opened = self._recalled(opened if closed is None else closed.then(opened), position + 1), None
        return heads, (closed, opened)

    def _seen(self, tokens: Recalled, position: int) -> Recalled:
        """Return the tokens that some head at `position` attends to."""
        return tokens.only(self.allowed(torch.tensor([position]), tokens.positions).any(0).squeeze(0))

    def _recalled(self, tokens: Recalled, position: int) -> Recalled:
        """Return the tokens that some head at `position`, or later, can attend to."""
        return tokens.only(torch.stack([each.recalls(position, tokens.positions) for each in self.groups]).any(0))

    def _heads(self, x: Tensor, offset: int) -> tuple[Tensor, Tensor, Tensor]:
        if self.d_query * self.n_heads == x.shape[-1]:
            return super()._heads(x, offset)
        # Values apart: what is kept for backward is the padded query and key, not their own projection.
        parts = (*self.project_in(x).chunk(2, dim=-1), self.project_value(x))
        query, key, value = (part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for part in parts)
        if self.rotary:
            query, key = rotate(query, offset), rotate(key, offset)
        return query, key, value
