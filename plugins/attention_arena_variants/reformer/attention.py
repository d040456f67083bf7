"""Reformer attention (Kitaev et al. 2020, section 2): queries are their own keys, and hashing finds the likely ones.

Query and key are one projection, the key of unit length, and a token attends to itself only when it has nothing else.
`attend_fully` is that softmax over any pairs, `count_rounds` says which pairs hashing proposes: together they are the
specification. The form in `chunks` computes the proposed pairs alone.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from attention_arena.layers import Attention, AttentionOutput, Linear, rotate, weights_of
from attention_arena.variant import Context, ModelShape
from attention_arena_variants.reformer.chunks import SELF_LOGIT, SHORTEST, attend_in_chunks
from attention_arena_variants.reformer.cut import Cut
from attention_arena_variants.reformer.hashing import (
    assign_buckets,
    centre,
    choose_factors,
    draw_rotations,
    smallest_integer,
)
from attention_arena_variants.reformer.layout import lay_out
from attention_arena_variants.reformer.options import ReformerOptions


def unit_key(query: Tensor) -> Tensor:
    """Return the keys of `query` (..., E): the same vectors at length 1, zero where a query is zero."""
    work = torch.promote_types(query.dtype, torch.float32)
    return functional.normalize(query.to(work), dim=-1, eps=SHORTEST).to(query.dtype)


def attend_fully(
    query: Tensor, key: Tensor, value: Tensor, times: Tensor, shared: bool, dropout: float = 0.0
) -> Tensor:
    """Return heads (B, H, T, E): softmax of query times key, in which a pair counts `times` (0: not at all).

    `times` is broadcast to (B, H, T, T). With `shared`, a token's logit with itself is -1e5. A query without any key
    gives zeros. Softmax in float32 for half precision; the (B, H, T, T) matrix is held.
    """
    work = torch.promote_types(query.dtype, torch.float32)
    scores = (query @ key.transpose(-1, -2)).to(work)  # (B, H, T, T)
    if shared:
        itself = torch.eye(scores.shape[-1], dtype=torch.bool, device=scores.device)
        scores = scores.masked_fill(itself, SELF_LOGIT)
    scores = scores + times.to(work).log()
    # Once more -inf, so that rows of nothing else have no gradient rather than NaN.
    probabilities = scores.masked_fill(times == 0, -torch.inf).softmax(-1)
    probabilities = probabilities.masked_fill((times == 0).all(-1, keepdim=True), 0.0)
    return functional.dropout(probabilities, dropout).to(value.dtype) @ value  # (B, H, T, E)


def count_rounds(buckets: Tensor, options: ReformerOptions, causal: bool, valid: Tensor | None) -> Tensor:
    """Return in how many rounds query i has key j (N_ij in the paper), (B, H, T, T), given buckets (B, H, R, T).

    With `duplicate_correction` at most 1: the paper's appendix A subtracts log N_ij from the logit.
    """
    T, m = buckets.shape[-1], options.bucket_size
    place = buckets.argsort(dim=-1, stable=True).argsort(dim=-1)

    def differences(x: Tensor) -> Tensor:
        return x.unsqueeze(-1) - x.unsqueeze(-2)  # (B, H, R, T, T)

    chunks_back = differences(place // m)
    near = (chunks_back == 0) | (chunks_back == 1)
    if options.wrap:
        near |= chunks_back == 1 - math.ceil(T / m)
    if options.strict_causal:
        near = (differences(place) >= 0) & (differences(place) <= m)
    if options.within_bucket or options.strict_causal:
        near &= differences(buckets.long()) == 0
    times = near.sum(2)  # (B, H, T, T)
    if options.duplicate_correction:
        times = times.clamp(max=1)
    times = times.tril() if causal else times
    return times if valid is None else times * valid[:, None, None, :]


class ReformerAttention(Attention):
    """Shared-QK attention, full or hashed.

    Rotary positions turn the shared vectors before they are hashed, so that hashing compares what attention compares.
    Rotations are shared over batch and heads. In training each forward draws them anew from one number of the global
    CPU generator; in evaluation they follow from the buffer `evaluation_seed`. `replay` is the bucket ids (B, H, R, T).
    Parameters and buffers do not depend on `attention`, so weights trained under one serve the other.
    """

    evaluation_seed: Tensor

    def __init__(self, shape: ModelShape, options: ReformerOptions) -> None:
        super().__init__()
        self.options = options
        self.n_heads, self.d_head = shape.n_heads, shape.d_head
        self.causal = shape.causal
        self.rotary = shape.positions == "rotary"
        self.factors = choose_factors(options.n_buckets, shape.max_length, options.bucket_size)
        n_parts = 2 if options.shared_qk else 3
        self.project_in = Linear(shape.d_model, n_parts * shape.d_model, bias=False, wide=True)
        self.project_out = Linear(shape.d_model, shape.d_model, bias=False, wide=True, shares=True)
        for part in (*self.project_in.weight.chunk(n_parts), self.project_out.weight):
            nn.init.xavier_uniform_(part)
        self.register_buffer("evaluation_seed", _draw_seed())

    @property
    def n_buckets(self) -> int:
        """Buckets of a round (b in the paper), without the one for padding."""
        first, second = (*self.factors, 1)[:2]
        return first * second

    @property
    def scale(self) -> float:
        """Length of shared keys, and what keys of their own are multiplied by."""
        return self.d_head**-0.5 if self.options.scale == "sqrt" or not self.options.shared_qk else 1.0

    @property
    def dropout(self) -> float:
        """Share of probabilities that are dropped now."""
        return self.options.attention_dropout if self.training else 0.0

    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        """Attend over normalised hidden states (B, T, D)."""
        B, T, D = x.shape
        heads, replay = self._attend(self._project(x), context)  # (B, T, H, E)
        return AttentionOutput(self.project_out(heads.reshape(B, T, D)), replay=replay)

    def weights(self, x: Tensor, context: Context) -> Tensor:
        """Return the weights (B, H, T, T) of the rounds' union, under the buckets in `context.replay` if there are."""
        with torch.no_grad():
            parts = self._project(x)
            if self.options.attention == "lsh":
                context = context._replace(replay=self.hash(parts[:, :, 0].transpose(1, 2), context))

            def attend(values: Tensor) -> Tensor:
                compared = parts[:, :, :-1]
                heads, _ = self._attend(torch.cat([compared, values.transpose(1, 2).unsqueeze(2)], dim=2), context)
                return heads.transpose(1, 2)

            return weights_of(attend, parts[:, :, -1].transpose(1, 2))

    def _project(self, x: Tensor) -> Tensor:
        """Return query, key unless it is the query, and value of each head, (B, T, 2 or 3, H, E)."""
        parts: Tensor = self.project_in(x).view(*x.shape[:2], -1, self.n_heads, self.d_head)
        if self.rotary:
            turned = [rotate(part.transpose(1, 2)).transpose(1, 2) for part in parts[:, :, :-1].unbind(2)]
            parts = torch.stack([*turned, parts[:, :, -1]], dim=2)
        return parts

    def hash(self, query: Tensor, context: Context) -> Tensor:
        """Return the bucket ids (B, H, R, T) of `query` (B, H, T, E); padding has the bucket after the last one."""
        options = self.options
        # Drawn even where the buckets are given, so that what is drawn next is the same when a forward is repeated.
        seed = _draw_seed() if self.training else self.evaluation_seed
        if context.replay is not None:
            return context.replay  # type: ignore[no-any-return]
        n_hashes = options.n_hashes if self.training else options.eval_hashes or options.n_hashes
        return self.buckets(query, context.valid, int(seed), n_hashes)

    def buckets(self, query: Tensor, valid: Tensor | None, seed: int, n_hashes: int) -> Tensor:
        """Return the bucket ids (B, H, R, T) of `query` (B, H, T, E) in `n_hashes` rounds drawn from `seed`."""
        query = query.detach()
        if self.options.centred_hashing:
            query = centre(query.to(torch.promote_types(query.dtype, torch.float32)), valid, self.causal)
        buckets = assign_buckets(query, draw_rotations(seed, self.d_head, n_hashes, self.factors), self.factors)
        if valid is not None:
            buckets = buckets.masked_fill(~valid[:, None, None, :], self.n_buckets)
        return buckets.to(smallest_integer(self.n_buckets + 1))

    def queries(self, x: Tensor) -> Tensor:
        """Return what is hashed and compared (B, H, T, E), given normalised hidden states (B, T, D)."""
        return self._project(x)[:, :, 0].transpose(1, 2)

    def _attend(self, parts: Tensor, context: Context) -> tuple[Tensor, Any]:
        """Return heads (B, T, H, E) of `parts` (B, T, 2 or 3, H, E), and the replay."""
        options = self.options
        if options.attention == "full":
            return self._attend_everywhere(parts, context), None
        buckets = self.hash(parts[:, :, 0].transpose(1, 2), context)
        if options.everywhere(parts.shape[1]):
            return self._attend_everywhere(parts, context), buckets
        return self._attend_hashed(parts, buckets, context.valid), buckets

    def _attend_everywhere(self, parts: Tensor, context: Context) -> Tensor:
        query, *keys, value = parts.permute(2, 0, 3, 1, 4)  # (B, H, T, E) each
        key = (keys[0] if keys else unit_key(query)) * self.scale
        T = query.shape[2]
        allowed = torch.ones(T, T, dtype=torch.bool, device=query.device)
        if self.causal:
            allowed = allowed.tril()
        if context.valid is not None:
            allowed = allowed & context.valid[:, None, None, :]
        return attend_fully(query, key, value, allowed, self.options.shared_qk, self.dropout).transpose(1, 2)

    def _attend_hashed(self, parts: Tensor, buckets: Tensor, valid: Tensor | None) -> Tensor:
        options, T = self.options, parts.shape[1]
        rules = options.rules(self.causal, T, self.scale, self.dropout)
        kept = None
        if self.dropout:
            cut = Cut.of(T, rules.chunk)
            kept = torch.rand(*buckets.shape[:3], cut.chunk, cut.width, device=parts.device) >= self.dropout
        layout = lay_out(buckets, self.n_buckets, valid, rules, kept=kept, ranked=options.strict_causal)
        return attend_in_chunks(parts, layout, rules)


def _draw_seed() -> Tensor:
    return torch.randint(2**62, (), device="cpu")
