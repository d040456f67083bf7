"""Attention with a memory of earlier segments (Dai et al. 2019, sections 3.2 and 3.3).

Each layer keeps its last inputs, without gradient and before normalisation, and attends from the present segment to
them and to itself. Every token so reaches one memory further with each layer, although no gradient leaves the segment.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from attention_arena.layers import Attention, AttentionOutput
from attention_arena.variant import Context, ModelShape
from attention_arena_variants.transformer_xl.relative import INITIAL_DEVIATION, RelativeTerms


class Memory(NamedTuple):
    """What a layer keeps between segments.

    - `hidden` (B, M, D): its last inputs, detached; as many as there were, up to the memory's length.
    - `valid` (B, M) bool: True at rows that may be attended; None means all may.
    - `n_open`: how many of them belong to a segment that `step` has begun and not finished.
    """

    hidden: Tensor
    valid: Tensor | None
    n_open: int = 0


class Recurrence(NamedTuple):
    """Lengths of segments and memories, in tokens."""

    segment_length: int
    """Longest segment (L in the paper)."""
    memory: int
    """Rows kept while training (M in the paper)."""
    eval_memory: int
    """Rows kept at evaluation."""
    same_length: bool
    """A query sees no more keys, up to and with itself, than the memory is long."""


class MemoryAttention(Attention):
    """Attention from a segment to a memory and to itself; no biases in the projections.

    `terms` adds relative positions to the scores; None adds nothing.
    """

    def __init__(
        self, shape: ModelShape, recurrence: Recurrence, terms: RelativeTerms | None, attention_dropout: float
    ) -> None:
        super().__init__()
        self.n_heads = shape.n_heads
        self.causal = shape.causal
        self.recurrence = recurrence
        self.terms = terms
        self.attention_dropout = attention_dropout
        self.project_query = nn.Linear(shape.d_model, shape.d_model, bias=False)
        self.project_key_value = nn.Linear(shape.d_model, 2 * shape.d_model, bias=False)
        self.project_out = nn.Linear(shape.d_model, shape.d_model, bias=False)
        for layer in (self.project_query, self.project_key_value, self.project_out):
            nn.init.normal_(layer.weight, std=INITIAL_DEVIATION)

    @property
    def memory_length(self) -> int:
        """Rows to keep, in the present mode."""
        return self.recurrence.memory if self.training else self.recurrence.eval_memory

    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        """Attend over hidden states (B, T, D) as they are."""
        return self.forward_raw(x, nn.Identity(), context)

    def step(self, x: Tensor, context: Context) -> AttentionOutput:
        """Attend from the next token (B, 1, D) as it is."""
        return self.step_raw(x, nn.Identity(), context)

    def forward_raw(self, x: Tensor, norm: nn.Module, context: Context) -> AttentionOutput:
        """Attend from each segment of (B, T, D) to the memory left of it, `context.state` at first, and to itself.

        The state for the next input is that of the last segment; None unless causal, because a bidirectional input is
        a text of its own.
        """
        pieces = []
        for start in range(0, x.shape[1], self.recurrence.segment_length):
            stop = start + self.recurrence.segment_length
            valid = None if context.valid is None else context.valid[:, start:stop]
            segment = x[:, start:stop]
            recalled = recall(segment, context._replace(valid=valid))
            pieces.append(self._attend(norm(recalled.hidden), segment.shape[1], recalled.valid))
            context = context._replace(state=keep(recalled, self.memory_length), resumes=None)
        hidden = pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)
        return AttentionOutput(hidden, context.state if self.causal else None)

    def step_raw(self, x: Tensor, norm: nn.Module, context: Context) -> AttentionOutput:
        """Attend from the next token (B, 1, D) of a segment to its memory and to the segment so far.

        The state holds both, so that steps equal `forward`. When the segment is full, it becomes memory.
        """
        recalled = recall(x, context)
        hidden = self._attend(norm(recalled.hidden), 1, recalled.valid)
        n_open = 1 if context.state is None else context.state.n_open + 1
        if n_open == self.recurrence.segment_length:
            return AttentionOutput(hidden, keep(recalled, self.memory_length))
        return AttentionOutput(hidden, recalled._replace(hidden=recalled.hidden.detach(), n_open=n_open))

    def _attend(self, normed: Tensor, n_queries: int, valid: Tensor | None) -> Tensor:
        """Attend from the last `n_queries` T of `normed` (B, S, D) to all; return (B, T, D)."""
        query = self._heads(self.project_query(normed[:, normed.shape[1] - n_queries :]))
        key, value = (self._heads(part) for part in self.project_key_value(normed).chunk(2, dim=-1))
        visible = self._visible(n_queries, valid, normed)
        heads = self._weigh(query, key, value, visible)
        if valid is not None and visible is not None:
            heads = heads.masked_fill(~visible.any(-1, keepdim=True), 0.0)
        return self.project_out(heads.permute(1, 2, 0, 3).flatten(-2))  # type: ignore[no-any-return]

    def _heads(self, x: Tensor) -> Tensor:
        """Split (B, T, D) into heads (H, B, T, E), heads first: the positions' product then is one per head."""
        return x.view(*x.shape[:2], self.n_heads, -1).permute(2, 0, 1, 3)

    def _visible(self, n_queries: int, valid: Tensor | None, keys: Tensor) -> Tensor | None:
        """Return which keys (B, S, D) a query may see, (T, S) or (B, T, S) bool; None means all."""
        visible = None
        if self.causal or self.recurrence.same_length:
            S = keys.shape[1]
            queries = torch.arange(S - n_queries, S, device=keys.device)
            distance = queries[:, None] - torch.arange(S, device=keys.device)  # (T, S)
            visible = distance >= (0 if self.causal else -n_queries)
            if self.recurrence.same_length:
                visible &= distance < self.memory_length
        if valid is None:
            return visible
        rows = valid[:, None, :].expand(-1, n_queries, -1)  # (B, T, S)
        return rows if visible is None else visible & rows

    def _weigh(self, query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None) -> Tensor:
        """Return softmax(scores) value, (H, B, T, E)."""
        dropout = self.attention_dropout if self.training else 0.0
        if self.terms is None:
            hidden_keys = None if visible is None else hide(visible, query)
            return functional.scaled_dot_product_attention(query, key, value, hidden_keys, dropout)
        positions = self.terms.scores(query, key.shape[2])
        hidden_keys = None if visible is None else hide(visible, positions)
        content = self.terms.content_query(query) * query.shape[-1] ** -0.5
        # The fused kernel is the faster one, but has no gradient for what is added to the scores. The choice rests on
        # the mode first, so that a forward repeated in backward goes the way of the first one.
        if self.training or positions.requires_grad:
            return attend_with_gradient(content, key, value, positions, hidden_keys, dropout)
        added = positions if hidden_keys is None else positions + hidden_keys
        return functional.scaled_dot_product_attention(content, key, value, added, scale=1.0)


def attend_with_gradient(
    query: Tensor, key: Tensor, value: Tensor, positions: Tensor, hidden_keys: Tensor | None, dropout: float
) -> Tensor:
    """Return softmax(query key^T + positions + hidden_keys) value, (H, B, T, E).

    Position terms (H, B, T, S) are the start that the product accumulates on, and what hides keys is added in place
    (its backward is free), so that of all (T, S) matrices only the probabilities are kept for backward.
    """
    scores = torch.baddbmm(positions.flatten(0, 1), query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2))
    scores = scores.view(positions.shape)  # (H, B, T, S)
    if hidden_keys is not None:
        scores += hidden_keys
    precise = torch.promote_types(scores.dtype, torch.float32)
    probabilities = functional.dropout(scores.softmax(-1, dtype=precise), dropout)
    return probabilities.to(value.dtype) @ value


def hide(visible: Tensor, scores: Tensor) -> Tensor:
    """Return what to add to `scores`: 0 where `visible`, else far below every score.

    Finite, so that a row without any visible key has a gradient that is a number.
    """
    added = torch.zeros(visible.shape, dtype=scores.dtype, device=scores.device)
    return added.masked_fill_(~visible, torch.finfo(scores.dtype).min / 2)


def recall(x: Tensor, context: Context) -> Memory:
    """Return the memory of `context`, if any, followed by the segment `x` (B, T, D)."""
    memory: Memory | None = context.state
    if memory is None:
        return Memory(x, context.valid)
    if len(memory.hidden) != len(x):
        raise ValueError(f"the memory has {len(memory.hidden)} rows of text, the segment {len(x)}; start without state")
    hidden = torch.cat([memory.hidden.detach().to(x.dtype), x], dim=1)
    if memory.valid is None and context.valid is None and context.resumes is None:
        return Memory(hidden, None)
    past = torch.ones_like(memory.hidden[..., 0], dtype=torch.bool) if memory.valid is None else memory.valid
    if context.resumes is not None:
        past = past & context.resumes[:, None]
    present = torch.ones_like(x[..., 0], dtype=torch.bool) if context.valid is None else context.valid
    return Memory(hidden, torch.cat([past, present], dim=1))


def keep(recalled: Memory, length: int) -> Memory:
    """Return the last `length` rows of `recalled`, detached; fewer if there are fewer."""
    start = max(0, recalled.hidden.shape[1] - length)
    valid = None if recalled.valid is None else recalled.valid[:, start:]
    # A copy, because a view would hold on to the rows that are forgotten.
    return Memory(recalled.hidden[:, start:].detach().clone(), valid)
