"""A dilated window is a plain one among the tokens of equal residue (Beltagy et al. 2020, section 3.1).

Tokens i, i + δ, i + 2δ, ... become a row of their own, in which the window has no gaps; heads of one dilation go
together.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from attention_arena_variants.longformer.landmarks import Landmarks
from attention_arena_variants.longformer.layout import Pinned
from attention_arena_variants.longformer.pattern import Pattern
from attention_arena_variants.longformer.window import attend_band


def attend_blocked(
    projected: Tensor,
    pattern: Pattern,
    *,
    valid: Tensor | None = None,
    landmarks: Landmarks | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Return heads (B, T, H, E): for each query one softmax over its window and the landmarks.

    `projected` (B, T, 3, H, E) holds query, key and value; tokens outside `valid` (B, T) give zeros.
    """
    groups = pattern.heads_by_dilation()
    if len(groups) == 1:
        (dilation,) = groups
        return _attend_dilated(projected, dilation, pattern, valid, landmarks, dropout)
    found = [
        _attend_dilated(projected[:, :, :, heads], dilation, pattern, valid, landmarks, dropout)
        for dilation, heads in groups.items()
    ]
    order = torch.tensor([head for heads in groups.values() for head in heads], device=projected.device)
    return torch.cat(found, dim=2)[:, :, order.argsort()]


def _attend_dilated(
    projected: Tensor,
    dilation: int,
    pattern: Pattern,
    valid: Tensor | None,
    landmarks: Landmarks | None,
    dropout: float,
) -> Tensor:
    B, T = projected.shape[:2]
    pinned = None if landmarks is None else pin(landmarks, dilation, causal=pattern.causal)
    if dilation == 1:
        return attend_band(projected, pattern.band, valid=valid, pinned=pinned, dropout=dropout)
    if valid is None and T % dilation:
        valid = torch.ones(B, T, dtype=torch.bool, device=projected.device)
    heads = attend_band(
        split_residues(projected, dilation),
        pattern.band,
        valid=None if valid is None else split_residues(valid, dilation),
        pinned=pinned,
        dropout=dropout,
    )
    return join_residues(heads, dilation)[:, :T]


def split_residues(x: Tensor, dilation: int) -> Tensor:
    """Return `x` (B, T, ...) as a row for each residue, (B δ, ceil(T / δ), ...), zero behind the last token."""
    missing = -x.shape[1] % dilation
    if missing:
        x = functional.pad(x, (0, 0) * (x.dim() - 2) + (0, missing))
    return torch.unflatten(x, 1, (-1, dilation)).transpose(1, 2).flatten(0, 1)


def join_residues(x: Tensor, dilation: int) -> Tensor:
    """Return what `split_residues` made, with the zeros at the end: (B, δ ceil(T / δ), ...)."""
    return torch.unflatten(x, 0, (-1, dilation)).transpose(1, 2).flatten(1, 2)


def pin(landmarks: Landmarks, dilation: int, *, causal: bool) -> Pinned:
    """Return landmarks as tokens that every residue's row sees, from the first position on that may."""
    marked = split_residues(landmarks.marked, dilation)  # (B δ, T')
    B, steps = len(landmarks.positions), marked.shape[1]
    residues = torch.arange(dilation, device=marked.device)
    positions = landmarks.positions[:, None]  # (B, 1, G)
    row = torch.arange(B, device=marked.device)[:, None, None] * dilation + positions % dilation
    place = row * steps + positions.div(dilation, rounding_mode="floor")
    since = torch.zeros_like(positions).expand(-1, dilation, -1)
    if causal:
        # Position t of residue r is token t δ + r, which sees token p if t δ + r >= p.
        since = -(residues[:, None] - positions).div(dilation, rounding_mode="floor")
        since = since.clamp(min=0)
    since = torch.where(landmarks.listed[:, None], since, steps)
    return Pinned(marked, place.expand(-1, dilation, -1).flatten(0, 1), since.flatten(0, 1))
