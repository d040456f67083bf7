"""Attention with a memory of earlier segments (Dai et al. 2019, sections 3.2 and 3.3).

Each layer keeps its last inputs, without gradient and before normalisation, and attends from the present segment to
them and to itself. Every token so reaches further back with each layer, although no gradient leaves the segment: by one
memory, and where that is no whole number of segments, on to the start of the segment in which it ends.
`plain.attend_plainly` is the formula and the specification; `blocks.attend_in_blocks` is the same function, fast.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from attention_arena.layers import Attention, AttentionOutput, Linear, kept_of, linear, weights_of
from attention_arena.variant import Context, ModelShape
from attention_arena_variants.transformer_xl.blocks import attend_in_blocks
from attention_arena_variants.transformer_xl.projection import project_twice
from attention_arena_variants.transformer_xl.relative import INITIAL_DEVIATION, Positions, RelativeTerms
from attention_arena_variants.transformer_xl.windows import Windows


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
        self.project_query = Linear(shape.d_model, shape.d_model, bias=False, wide=True)
        self.project_key_value = Linear(shape.d_model, 2 * shape.d_model, bias=False, wide=True)
        self.project_out = Linear(shape.d_model, shape.d_model, bias=False, wide=True, shares=True)
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
        recalled = recall(x, context)
        hidden = self._attend(recalled, norm, x.shape[1])
        return AttentionOutput(hidden, keep(recalled, self.memory_length) if self.causal else None)

    def step_raw(self, x: Tensor, norm: nn.Module, context: Context) -> AttentionOutput:
        """Attend from the next token (B, 1, D) of a segment to its memory and to the segment so far.

        The state holds both, so that steps equal `forward`. When the segment is full, it becomes memory.
        """
        recalled = recall(x, context)
        hidden = self._attend(recalled, norm, 1)
        n_open = 1 if context.state is None else context.state.n_open + 1
        if n_open == self.recurrence.segment_length:
            return AttentionOutput(hidden, keep(recalled, self.memory_length))
        return AttentionOutput(hidden, recalled._replace(hidden=recalled.hidden.detach(), n_open=n_open))

    def weights(self, x: Tensor, context: Context) -> Tensor:
        """Return the weights of hidden states (B, T, D) as they are."""
        return self.weights_raw(x, nn.Identity(), context)

    def weights_raw(self, x: Tensor, norm: nn.Module, context: Context) -> Tensor:
        """Return the weights (B, H, T, S) of the S = M + T rows of the memory in `context.state` and of `x`."""
        recalled = recall(x, context)
        with torch.no_grad():
            query, present, _, positions, windows = self._compared(recalled, norm, x.shape[1])
            key, value = present.unbind(2)  # (B, S, H, E) each

            def attend(values: Tensor) -> Tensor:
                keys = torch.stack([key, values.transpose(1, 2)], dim=2)
                return attend_in_blocks(query, keys, keys, positions, windows, recalled.valid).transpose(1, 2)

            return weights_of(attend, value.transpose(1, 2))

    def _attend(self, recalled: Memory, norm: nn.Module, n_queries: int) -> Tensor:
        """Attend from the last `n_queries` T of the rows (B, S, D) to those in their windows; return (B, T, D)."""
        query, present, past, positions, windows = self._compared(recalled, norm, n_queries)
        dropout = self.attention_dropout if self.training else 0.0
        heads = attend_in_blocks(query, present, past, positions, windows, recalled.valid, dropout)
        return self.project_out(heads.flatten(2))  # type: ignore[no-any-return]

    def _compared(
        self, recalled: Memory, norm: nn.Module, n_queries: int
    ) -> tuple[Tensor, Tensor, Tensor, Positions | None, Windows]:
        """Return queries (B, T, H, E), keys and values twice as `_keys` does, what positions add, and the windows."""
        windows = self._windows(recalled.hidden.shape[1] - n_queries, n_queries)
        normed = norm(recalled.hidden)
        kept = kept_of(normed)
        of_query = None if kept is None else kept[:, windows.n_before :]
        query = linear(normed[:, windows.n_before :], self.project_query.weight, kept=of_query, wide=True)
        query = torch.unflatten(query, -1, (self.n_heads, -1))  # (B, T, H, E)
        present, past = self._keys(recalled.hidden, normed, kept, norm, windows.has_past)
        positions = None
        if self.terms is not None:
            positions = self.terms.positions(windows.longest, windows.furthest + 1, query.dtype, query.device)
        return query, present, past, positions, windows

    def _windows(self, n_before: int, n_tokens: int) -> Windows:
        length, *_, same_length = self.recurrence
        span = self.memory_length if same_length else None
        return Windows(length, self.memory_length, self.causal, span, n_before, n_tokens)

    def _keys(
        self, hidden: Tensor, normed: Tensor, kept: Tensor | None, norm: nn.Module, has_past: bool
    ) -> tuple[Tensor, Tensor]:
        """Return keys and values (B, S, 2, H, E) of rows (B, S, D), as seen from their own segment and from later ones.

        Seen from a later segment, the rows before `norm` are constants, and its parameters are not.
        """
        weight = self.project_key_value.weight
        if not has_past or kept is None or not torch.is_grad_enabled():
            present = linear(normed, weight, kept=kept, wide=True)
            past = present.detach()
        else:
            learns = any(parameter.requires_grad for parameter in norm.parameters())
            remembered = norm(hidden.detach()) if learns else normed.detach()
            present, past = project_twice(normed, remembered, kept, weight)
        n_rows = hidden.shape[:2]
        return present.view(*n_rows, 2, self.n_heads, -1), past.view(*n_rows, 2, self.n_heads, -1)


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
