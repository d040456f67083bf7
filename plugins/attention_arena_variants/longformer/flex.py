"""The windows' softmax by flex_attention, for CUDA: it skips blocks of pairs that no rule allows.

PyTorch's CPU backend of flex_attention has no backward, and runs eagerly with the matrix of all pairs; so on a CPU this
form serves evaluation alone, and is there to be compared. It has not been timed on a GPU yet, so `auto` does not take
it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from attention_arena_variants.longformer.landmarks import Landmarks
from attention_arena_variants.longformer.pattern import Pattern

Rule = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(row, head, query, key) -> whether the pair counts, as flex_attention asks for it."""


def attend_flex(
    projected: Tensor,
    pattern: Pattern,
    *,
    valid: Tensor | None = None,
    landmarks: Landmarks | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Return heads (B, T, H, E): for each query one softmax over its window and the landmarks.

    Raises ValueError on a CPU where a gradient is asked for, and for dropout of weights, which flex_attention lacks.
    """
    if dropout:
        raise ValueError(f"flex_attention has no dropout of weights, got {dropout}; use implementation: blocked")
    on_cpu = projected.device.type == "cpu"
    if on_cpu and projected.requires_grad:
        raise ValueError("flex_attention has no backward on a CPU; use implementation: blocked (or auto) for training")
    query, key, value = projected.permute(2, 0, 3, 1, 4)  # (B, H, T, E) each
    B, _, T, _ = query.shape
    if valid is None and landmarks is None:
        mask = _window_mask(pattern, T, projected.device)
    else:
        marked = None if landmarks is None else landmarks.marked
        mask = _mask(window_rule(pattern, projected.device, valid, marked), pattern, B, T, projected.device)
    attend = flex_attention if on_cpu else _compiled()
    heads: Tensor = attend(query, key, value, block_mask=mask)  # type: ignore[operator]
    heads = heads.transpose(1, 2)
    return heads if valid is None else heads.masked_fill(~valid[:, :, None, None], 0.0)


def window_rule(
    pattern: Pattern, device: torch.device, valid: Tensor | None = None, marked: Tensor | None = None
) -> Rule:
    """Return the rule of the windows, with `marked` (B, T) tokens seen by all, and only `valid` (B, T) ones seen."""
    before, after = pattern.band
    dilations = torch.tensor(pattern.dilations, device=device)
    causal = pattern.causal

    def counts(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        ahead, dilation = key - query, dilations[head]
        seen = (ahead % dilation == 0) & (ahead >= -before * dilation) & (ahead <= after * dilation)
        if marked is not None:
            seen = seen | (marked[row, key] & (ahead <= 0) if causal else marked[row, key])
        return seen if valid is None else seen & valid[row, key]

    return counts


@lru_cache(maxsize=64)
def _window_mask(pattern: Pattern, T: int, device: torch.device) -> BlockMask:
    """Return the windows' mask, which all batches of one length share."""
    return _mask(window_rule(pattern, device), pattern, None, T, device)


def _mask(rule: Rule, pattern: Pattern, B: int | None, T: int, device: torch.device) -> BlockMask:
    n_heads = None if len(set(pattern.dilations)) == 1 else len(pattern.dilations)
    return create_block_mask(rule, B, n_heads, T, T, device=device)


@lru_cache(maxsize=1)
def _compiled() -> Callable[..., Any]:
    """Return flex_attention, compiled; for fixed shapes, because masks that depend on the batch fail with others."""
    return torch.compile(flex_attention, dynamic=False)
