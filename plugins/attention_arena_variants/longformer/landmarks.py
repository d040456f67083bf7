"""Longformer's global tokens (Beltagy et al. 2020, section 3.1): every token sees them, and they see every token.

That others see them is part of the window's softmax; what they see is a softmax of its own here, over all tokens, with
projections of its own. Causal models see no later token here either (ours: the paper has global tokens only in
bidirectional models).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from attention_arena.layers import attend_fused
from attention_arena.variant import Context


class Landmarks(NamedTuple):
    """The global tokens of a batch, as many places in each row as the fullest one needs.

    - `marked` (B, T) bool: True at global tokens.
    - `positions` (B, G) int64: theirs, and other positions, no two alike, where a row has fewer.
    - `listed` (B, G) bool: True where that is a global token.
    """

    marked: Tensor
    positions: Tensor
    listed: Tensor


def find_landmarks(context: Context, n_first: int, x: Tensor) -> Landmarks | None:
    """Return the first `n_first` tokens and those that the context singles out; None where there are none.

    `x` (B, T, D). Padding is no landmark. The context's landmarks are counted, for which a GPU must be waited for.
    """
    B, T = x.shape[:2]
    if context.landmarks is None:
        if not n_first:
            return None
        positions = torch.arange(min(n_first, T), device=x.device).expand(B, -1)
        marked = (torch.arange(T, device=x.device) < n_first).expand(B, -1)
        marked = marked if context.valid is None else marked & context.valid
        return Landmarks(marked, positions, marked.gather(1, positions))
    marked = context.landmarks if context.valid is None else context.landmarks & context.valid
    if n_first:
        first = torch.arange(T, device=x.device) < n_first
        marked = marked | (first if context.valid is None else first & context.valid)
    n_places = int(marked.sum(1).max()) if B else 0
    if not n_places:
        return None
    positions = marked.to(torch.uint8).sort(dim=1, descending=True, stable=True).indices[:, :n_places]
    return Landmarks(marked, positions, marked.gather(1, positions))


def pick(x: Tensor, landmarks: Landmarks) -> Tensor:
    """Return the tokens of `x` (B, T, ...) at the landmarks' places, (B, G, ...)."""
    rows = torch.arange(len(x), device=x.device)[:, None]
    return x[rows, landmarks.positions]  # Unlike `gather`, this keeps none of x for backward.


def attend_globally(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    landmarks: Landmarks,
    *,
    causal: bool,
    valid: Tensor | None,
    dropout: float = 0.0,
) -> Tensor:
    """Return heads (B, G, H, E) of the landmarks' queries (B, G, H, E) over key and value (B, T, H, E) of all tokens.

    What a place without landmark gets means nothing.
    """
    T = key.shape[1]
    allowed = None if valid is None else valid[:, None, None, :]  # (B, 1, 1, T)
    if causal:
        seen = torch.arange(T, device=key.device) <= landmarks.positions[:, None, :, None]  # (B, 1, G, T)
        allowed = seen if allowed is None else seen & allowed
    if allowed is not None:
        # A place without landmark may have no key, and kernels differ on that.
        allowed = allowed | ~landmarks.listed[:, None, :, None]
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    heads = attend_fused(query, key, value, allowed=allowed, dropout=dropout)
    return heads.transpose(1, 2)


def overwrite(heads: Tensor, found: Tensor, landmarks: Landmarks) -> Tensor:
    """Return heads (B, T, H, E) with the landmarks' own `found` (B, G, H, E) in their places."""
    kept = torch.where(landmarks.listed[:, :, None, None], found.to(heads.dtype), pick(heads, landmarks))
    index = landmarks.positions[:, :, None, None].expand_as(kept)
    return heads.scatter(1, index, kept)
