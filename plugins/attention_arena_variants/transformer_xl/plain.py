"""Attention of segments with a memory, as the formula says it: the specification of `attend_in_blocks`."""

from __future__ import annotations

import torch
from torch import Tensor

from attention_arena_variants.transformer_xl.relative import Positions
from attention_arena_variants.transformer_xl.windows import Segment, Windows


def attend_plainly(
    query: Tensor,
    present: Tensor,
    past: Tensor,
    positions: Positions | None,
    windows: Windows,
    valid: Tensor | None = None,
) -> Tensor:
    """Return heads (B, T, H, E): what `attend_in_blocks` does without dropout, segment by segment.

    The score of query i and key j at distance d is ((q_i + u) k_j + (q_i + v) r_d) / sqrt(E).
    """
    return torch.cat(
        [_attend(query, present, past, positions, windows, valid, segment) for segment in windows.segments()], dim=1
    )


def _attend(
    query: Tensor,
    present: Tensor,
    past: Tensor,
    positions: Positions | None,
    windows: Windows,
    valid: Tensor | None,
    segment: Segment,
) -> Tensor:
    start, stop = windows.n_before + segment.start, windows.n_before + segment.stop
    query = query[:, segment.start : segment.stop]
    key, value = torch.cat([past[:, segment.first_key : start], present[:, start:stop]], dim=1).unbind(2)
    places = torch.arange(segment.first_key, stop, device=query.device)
    distance = places[start - segment.first_key :, None] - places  # (L, S)
    u, v = (0.0, 0.0) if positions is None else (bias if bias is not None else 0.0 for bias in positions[1:])
    scores = torch.einsum("bihe,bjhe->bhij", query + u, key)
    if positions is not None:
        by_distance = torch.einsum("bihe,hew->bhiw", query + v, positions.vectors)
        column = (windows.furthest - distance).clamp(max=by_distance.shape[-1] - 1)
        scores = scores + by_distance.gather(-1, column.expand(*scores.shape[:2], -1, -1))
    visible = _visible(distance, windows)[None, None]
    if valid is not None:
        visible = visible & valid[:, None, None, segment.first_key : stop]
    hidden_scores = (scores * query.shape[-1] ** -0.5).masked_fill(~visible, torch.finfo(scores.dtype).min)
    probabilities = hidden_scores.softmax(-1).masked_fill(~visible.any(-1, keepdim=True), 0.0)
    return torch.einsum("bhij,bjhe->bihe", probabilities, value)


def _visible(distance: Tensor, windows: Windows) -> Tensor:
    visible = distance >= (0 if windows.causal else windows.nearest)
    return visible if windows.span is None else visible & (distance < windows.span)
