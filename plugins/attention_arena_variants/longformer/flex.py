"""The windows' softmax by flex_attention, for CUDA: it skips blocks of pairs that no rule allows.

Which blocks these are follows from the band, so that no matrix of all pairs is made to find out. PyTorch's CPU backend
of flex_attention has no backward, and runs eagerly with that matrix; so on a CPU this form serves evaluation alone, and
is there to be compared. It has not been timed on a GPU yet, so `auto` does not take it.

Letters beside the usual ones: N blocks of the sequence.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from attention_arena_variants.longformer.landmarks import Landmarks
from attention_arena_variants.longformer.pattern import Pattern

Rule = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(row, head, query, key) -> whether the pair counts, as flex_attention asks for it."""

BLOCK = 128
"""Queries, and keys, of a block: what the kernels are made for."""

NARROWEST_HEAD = 16
"""Numbers of a head that the kernels of GPUs need at least."""


MOST_KERNELS = 256
"""Kernels of one process: one for each length, batch size and pattern, with and without padding and landmarks."""


def attend_flex(
    projected: Tensor,
    pattern: Pattern,
    *,
    valid: Tensor | None = None,
    landmarks: Landmarks | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Return heads (B, T, H, E): for each query one softmax over its window and the landmarks.

    Raises ValueError on a CPU where a gradient is asked for, elsewhere for heads of less than 16 numbers, and for
    dropout of weights, which flex_attention lacks.
    """
    if dropout:
        raise ValueError(f"flex_attention has no dropout of weights, got {dropout}; use implementation: blocked")
    on_cpu = projected.device.type == "cpu"
    _require_a_kernel(projected, on_cpu)
    query, key, value = projected.permute(2, 0, 3, 1, 4)  # (B, H, T, E) each
    if valid is None and landmarks is None:
        mask = _window_mask(pattern, query.shape[2], projected.device)
    else:
        marked = None if landmarks is None else landmarks.marked
        mask = window_mask(pattern, query.shape[2], projected.device, valid, marked)
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


def window_mask(
    pattern: Pattern, T: int, device: torch.device, valid: Tensor | None = None, marked: Tensor | None = None
) -> BlockMask:
    """Return the mask of `window_rule` over T tokens: the rule, and which blocks of pairs to look at.

    Without `valid` and `marked` (B, T) the blocks are exactly those in which a pair counts. With them a block may be
    looked at in vain: one is passed over only where none of its keys is valid. Held are a few numbers for each block,
    which is 16,384 pairs.
    """
    some, every = _blocks_in_window(pattern, T, device)  # (1, H or 1, N, N) each
    if marked is not None:
        some = some | _blocks_with_landmarks(marked, pattern.causal)
    if valid is not None:
        keys = _in_blocks(valid)
        some, every = some & keys.any(-1), every & keys.all(-1)
    every = every & some  # as many rows, where the batch has its own
    rule = window_rule(pattern, device, valid, marked)
    return BlockMask.from_kv_blocks(
        *_listed(some & ~every), *_listed(every), BLOCK_SIZE=BLOCK, mask_mod=rule, seq_lengths=(T, T)
    )


@lru_cache(maxsize=64)
def _window_mask(pattern: Pattern, T: int, device: torch.device) -> BlockMask:
    """Return the windows' mask, which all batches of one length share."""
    return window_mask(pattern, T, device)


def _blocks_in_window(pattern: Pattern, T: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the blocks in which some pair lies in the window, and those in which each does, (1, H or 1, N, N) bool.

    Rows are queries. A block that reaches beyond T tokens is no whole one.
    """
    first = torch.arange(0, T, BLOCK, device=device)
    last = (first + BLOCK).clamp(max=T) - 1
    nearest, furthest = first - last[:, None], last - first[:, None]  # (N, N): key less query
    dilations = pattern.dilations[:1] if len(set(pattern.dilations)) == 1 else pattern.dilations
    dilation = torch.tensor(dilations, device=device)[:, None, None]
    least, most = -pattern.band.before * dilation, pattern.band.after * dilation
    first_kept = -(torch.maximum(nearest, least).neg() // dilation) * dilation  # a multiple of the dilation, rounded up
    some = first_kept <= torch.minimum(furthest, most)
    is_whole = last - first + 1 == BLOCK
    every = is_whole & is_whole[:, None] & (dilation == 1) & (nearest >= least) & (furthest <= most)
    return some[None], every[None]


def _blocks_with_landmarks(marked: Tensor, causal: bool) -> Tensor:
    """Return the blocks in which a pair may have a key that is `marked` (B, T), (B, 1, N or 1, N) bool."""
    has = _in_blocks(marked).any(-1)
    N = has.shape[-1]
    return has & torch.ones(N, N, dtype=torch.bool, device=marked.device).tril() if causal else has


def _in_blocks(keys: Tensor) -> Tensor:
    """Return what is true of keys (B, T) as (B, 1, 1, N, BLOCK), false beyond T."""
    padded = functional.pad(keys, (0, -keys.shape[1] % BLOCK))
    return padded.view(len(keys), 1, 1, -1, BLOCK)


def _listed(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Return how many of `blocks` (..., N, N) each row has, (..., N), and all blocks with these first, (..., N, N)."""
    order = blocks.to(torch.uint8).sort(dim=-1, descending=True, stable=True).indices
    return blocks.sum(-1, dtype=torch.int32), order.to(torch.int32)


def _require_a_kernel(projected: Tensor, on_cpu: bool) -> None:
    E = projected.shape[-1]
    if on_cpu and projected.requires_grad:
        raise ValueError(
            "implementation: flex trains on CUDA alone, because flex_attention has no backward on a CPU;"
            " use implementation: blocked (or auto)"
        )
    if not on_cpu and E < NARROWEST_HEAD:
        raise ValueError(
            f"implementation: flex needs heads of {NARROWEST_HEAD} numbers or more (d_model / n_heads), got {E};"
            " use fewer heads, or implementation: blocked"
        )


@lru_cache(maxsize=1)
def _compiled() -> Callable[..., Any]:
    """Return flex_attention, compiled for fixed shapes, because masks that depend on the batch fail with others."""
    compiled = torch.compile(flex_attention, dynamic=False)

    def attend(query: Tensor, key: Tensor, value: Tensor, *, block_mask: BlockMask) -> Any:
        # At its limit of kernels PyTorch would go on without one, which makes the matrix of all pairs.
        with torch._dynamo.config.patch(recompile_limit=MOST_KERNELS, fail_on_recompile_limit_hit=True):
            return compiled(query, key, value, block_mask=block_mask)

    return attend
