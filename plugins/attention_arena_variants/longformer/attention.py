"""Longformer attention (Beltagy et al. 2020, section 3): a sliding window for every token, full sight for a few.

A token attends to the window around it, possibly with gaps, and to the global tokens, in one softmax; a global token
attends to all tokens, with projections of its own. `attend_plainly` is that formula with the matrix of all pairs, and
the specification; `dilation.attend_blocked`, and `flex.attend_flex` on CUDA, are the same function without it.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from attention_arena.layers import (
    Attention,
    AttentionOutput,
    Linear,
    linear,
    linear_by_channel,
    lower,
    processor_of,
    require_step,
    rotate,
    weights_of,
)
from attention_arena.variant import Context, ModelShape
from attention_arena_variants.longformer.decoding import Cache, Kept, attend_cache, attend_step, extend, forget
from attention_arena_variants.longformer.landmarks import (
    Landmarks,
    attend_globally,
    find_landmarks,
    overwrite,
    pick,
)
from attention_arena_variants.longformer.pattern import Pattern
from attention_arena_variants.longformer.walk import is_long


def attend_plainly(
    local: Tensor, everywhere: Tensor, pattern: Pattern, valid: Tensor | None = None, marked: Tensor | None = None
) -> Tensor:
    """Return heads (B, T, H, E) by the formula.

    `local` and `everywhere` (B, T, 3, H, E) are query, key and value of the local and of the global projections;
    `marked` (B, T) is True at global tokens. A token outside `valid` (B, T) is not attended to, is no global token, and
    gives zeros. Softmax in float32 for half precision.
    """
    B, T = local.shape[:2]
    valid = torch.ones(B, T, dtype=torch.bool, device=local.device) if valid is None else valid
    marked = torch.zeros_like(valid) if marked is None else marked & valid
    seen = pattern.in_sight(T, local.device) & valid[:, None, None, :]  # (B, 1, T, T)
    near = seen & (pattern.in_window(T, local.device) | marked[:, None, None, :])  # (B, H, T, T)
    heads = torch.where(marked[:, :, None, None], _attend_pairs(everywhere, seen), _attend_pairs(local, near))
    return heads.masked_fill(~valid[:, :, None, None], 0.0)


def _attend_pairs(projected: Tensor, allowed: Tensor) -> Tensor:
    """Return softmax(query key^T / sqrt(E)) value over allowed pairs, (B, T, H, E); zeros for a query without any."""
    query, key, value = projected.permute(2, 0, 3, 1, 4)  # (B, H, T, E) each
    work = torch.promote_types(query.dtype, torch.float32)
    scores = (query @ key.mT).to(work) * query.shape[-1] ** -0.5  # (B, H, T, T)
    empty = ~allowed.any(-1, keepdim=True)
    probabilities = scores.masked_fill(~allowed & ~empty, -torch.inf).softmax(-1).masked_fill(empty, 0.0)
    heads: Tensor = probabilities.to(value.dtype) @ value
    return heads.transpose(1, 2)


class AttendLocally(Protocol):
    """A form of the windows' softmax: from projected heads (B, T, 3, H, E) to heads (B, T, H, E)."""

    def __call__(
        self,
        projected: Tensor,
        pattern: Pattern,
        *,
        valid: Tensor | None = None,
        landmarks: Landmarks | None = None,
        dropout: float = 0.0,
    ) -> Tensor:
        """Attend from each token to its window and the landmarks."""


class GlobalTokens(NamedTuple):
    """Which tokens are global besides those that the task singles out, and what they attend with."""

    n_first: int = 0
    """So many tokens at the start of every sequence are global."""
    own_projections: bool = True
    """Global tokens have query, key and value projections of their own; without, they use the local ones."""


class LongformerAttention(Attention):
    """Window attention with global tokens; projections without bias, the global ones equal to the local at first.

    Without a global token nothing of the global part is computed, and its projections have no gradient.
    """

    def __init__(
        self,
        shape: ModelShape,
        pattern: Pattern,
        global_tokens: GlobalTokens,
        attend_locally: AttendLocally,
        attention_dropout: float,
    ) -> None:
        super().__init__()
        self.n_heads, self.pattern = shape.n_heads, pattern
        self.max_length = shape.max_length
        self.rotary = shape.positions == "rotary"
        self.n_first = global_tokens.n_first
        self.attend_locally = attend_locally
        self.attention_dropout = attention_dropout
        self.project_in = Linear(shape.d_model, 3 * shape.d_model, bias=False, wide=True)
        self.project_out = Linear(shape.d_model, shape.d_model, bias=False, wide=True, shares=True)
        for part in (*self.project_in.weight.chunk(3), self.project_out.weight):
            nn.init.xavier_uniform_(part)
        self.project_globally = Linear(shape.d_model, 3 * shape.d_model, bias=False, wide=True)
        if global_tokens.own_projections:
            with torch.no_grad():
                self.project_globally.weight.copy_(self.project_in.weight)
        else:
            self.project_globally = self.project_in

    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        """Attend over normalised hidden states (B, T, D)."""
        landmarks = find_landmarks(context, self.n_first, x)
        projected = self._split(self._project(x, landmarks))
        dropout = self.attention_dropout if self.training else 0.0
        heads = self.attend_locally(projected, self.pattern, valid=context.valid, landmarks=landmarks, dropout=dropout)
        if landmarks is not None:
            parts = self._global_parts(x, projected, landmarks)
            found = attend_globally(*parts, landmarks, causal=self.pattern.causal, valid=context.valid, dropout=dropout)
            heads = overwrite(heads, found, landmarks)
        return AttentionOutput(self.project_out(heads.flatten(2)))

    def step(self, x: Tensor, context: Context) -> AttentionOutput:
        """Attend from the next token (B, 1, D). The state holds the window, and the global tokens at the start.

        Raises ValueError for a landmark after those, because it would attend to tokens that are long forgotten, and for
        a token beyond `max_length` or a state of other rows.
        """
        before: Kept = context.state or Kept()
        position = before.length
        n_rows = None if before.window is None else len(before.window.key)
        require_step(x, position, n_rows, max_length=self.max_length)
        valid = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if context.valid is None else context.valid
        query, key, value = self._split(lower(self.project_in(x)), position).permute(2, 0, 3, 1, 4)  # (B, H, 1, E) each
        token = Cache(key, value, valid)
        window = extend(before.window, token)
        if position < self.n_first:
            first = extend(before.first, token)
            query, key, value = self._split(lower(self.project_globally(x)), position).permute(2, 0, 3, 1, 4)
            sight = extend(before.sight, Cache(key, value, valid))
            heads = attend_cache(query, sight)
            is_last = position == self.n_first - 1
            kept = Kept(position + 1, first=forget(first, position + 1), sight=None if is_last else sight)
        else:
            _require_no_landmark(context, position, self.n_first)
            heads = attend_step(query, position, window, before.first, self.pattern)
            kept = Kept(position + 1, first=before.first)
        heads = heads.masked_fill(~valid[:, None, :, None], 0.0)
        hidden = self.project_out(heads.transpose(1, 2).flatten(2))
        return AttentionOutput(hidden, kept._replace(window=forget(window, self.pattern.reach)))

    def weights(self, x: Tensor, context: Context) -> Tensor:
        """Return the weights (B, H, T, T): those of global tokens are of values by their own projection."""
        with torch.no_grad():
            landmarks = find_landmarks(context, self.n_first, x)
            projected = self._split(self.project_in(x))
            query, key, value = projected.unbind(2)  # (B, T, H, E) each

            def attend(values: Tensor) -> Tensor:
                values = values.transpose(1, 2)
                local = torch.stack([query, key, values], dim=2)
                heads = self.attend_locally(local, self.pattern, valid=context.valid, landmarks=landmarks)
                if landmarks is not None:
                    of_query, of_key, _ = self._global_parts(x, projected, landmarks)
                    found = attend_globally(
                        of_query, of_key, values, landmarks, causal=self.pattern.causal, valid=context.valid
                    )
                    heads = overwrite(heads, found, landmarks)
                return heads.transpose(1, 2)

            return weights_of(attend, value.transpose(1, 2))

    def _project(self, x: Tensor, landmarks: Landmarks | None) -> Tensor:
        """Return `x` (B, T, D) projected (B, T, 3 D), on a CPU in the order of memory that its blocks read best.

        Each number lies side by side for all tokens there: W x^T takes as long as x W^T. But rotation, gaps, and what
        landmarks see are read token by token, and short rows are copied.
        """
        by_token = self.rotary or max(self.pattern.dilations) > 1 or not is_long(*x.shape[1:])
        by_token = by_token or (landmarks is not None and self.project_globally is self.project_in)
        if by_token or processor_of(x) != "cpu":
            return self.project_in(x)  # type: ignore[no-any-return]
        by_channel = linear_by_channel(x.flatten(0, 1), self.project_in.weight)  # (3 D, B T)
        return torch.unflatten(by_channel, 1, x.shape[:2]).permute(1, 2, 0)

    def _split(self, projected: Tensor, offset: int = 0) -> Tensor:
        """Return (B, T, 3 D) as query, key and value of each head (B, T, 3, H, E), rotated if positions are rotary."""
        parts = torch.unflatten(projected, -1, (3, self.n_heads, -1))
        if not self.rotary:
            return parts
        query, key, value = parts.unbind(2)
        query, key = (rotate(part.transpose(1, 2), offset).transpose(1, 2) for part in (query, key))
        return torch.stack([query, key, value], dim=2)

    def _global_parts(self, x: Tensor, projected: Tensor, landmarks: Landmarks) -> tuple[Tensor, Tensor, Tensor]:
        """Return the landmarks' queries (B, G, H, E), and key and value (B, T, H, E) of all tokens for them."""
        if self.project_globally is self.project_in or self.rotary:
            # Rotation goes by position, so all queries are rotated before some are picked.
            whole = projected if self.project_globally is self.project_in else self._split(self.project_globally(x))
            query, key, value = whole.unbind(2)
            return pick(query, landmarks), key, value
        D = x.shape[-1]
        of_query, of_rest = torch.split(self.project_globally.weight, [D, 2 * D])
        query = torch.unflatten(linear(pick(x, landmarks), of_query, wide=True), -1, (self.n_heads, -1))
        key, value = torch.unflatten(linear(x, of_rest, wide=True), -1, (2, self.n_heads, -1)).unbind(2)
        return query, key, value


def _require_no_landmark(context: Context, position: int, n_first: int) -> None:
    if context.landmarks is not None and bool(context.landmarks.any()):
        raise ValueError(
            f"a landmark at position {position} attends to all tokens before it, which decoding does not keep;"
            f" leave `landmarks` out of the step, or let n_landmarks ({n_first}) cover the position"
        )
