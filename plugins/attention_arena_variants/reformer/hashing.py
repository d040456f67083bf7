"""Locality-sensitive hashing of queries (Kitaev et al. 2020, section 2; Andoni et al. 2015).

A random rotation sends a vector to the nearest of b signed axes, its bucket: vectors at a small angle tend to share
one. Tokens sorted by bucket then have their likely partners nearby.

Letters beside the usual ones: R hash rounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from attention_arena.layers import processor_of, without_autocast

DIRECT_BUCKETS = 128
"""Most buckets that one rotation assigns; more are the product of two, which costs 2 sqrt(b) axes instead of b."""

AXES_AT_ONCE = {"cpu": 2**18}
"""Tokens times axes in memory at a time: what fits the cache of one core; elsewhere a quarter of a gigabyte."""


def choose_factors(n_buckets: int | None, max_length: int, bucket_size: int) -> tuple[int, ...]:
    """Return the even factors whose product is the number of buckets (b in the paper), one or two of them.

    `n_buckets` None gives two buckets per `bucket_size` tokens of `max_length`, rounded up where that must factorise.
    Raises ValueError for a number that is odd, or above 128 and no multiple of 4.
    """
    if n_buckets is None:
        wanted = 2 * math.ceil(max_length / bucket_size)
        if wanted <= DIRECT_BUCKETS:
            return (wanted,)
        first = 2 * round(wanted**0.5 / 2)
        return first, 2 * math.ceil(wanted / (2 * first))
    if n_buckets < 2 or n_buckets % 2:
        lower = max(2, n_buckets - 1)
        raise ValueError(
            f"n_buckets must be even and at least 2, because an axis has two signs, got {n_buckets};"
            f" set it to {lower} or {lower + 2}, or to null"
        )
    if n_buckets <= DIRECT_BUCKETS:
        return (n_buckets,)
    if n_buckets % 4:
        raise ValueError(
            f"n_buckets above {DIRECT_BUCKETS} must be a multiple of 4, a product of two even factors, got {n_buckets};"
            f" set it to {n_buckets - 2} or {n_buckets + 2}, or to null"
        )
    quarter = n_buckets // 4
    first = next(divisor for divisor in range(math.isqrt(quarter), 0, -1) if quarter % divisor == 0)
    return 2 * first, 2 * quarter // first


def draw_rotations(seed: int, d_head: int, n_hashes: int, factors: Sequence[int]) -> Tensor:
    """Return Gaussian projections (E, R, half the sum of `factors`), float32 on the CPU, set by `seed` alone."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn(d_head, n_hashes, sum(factors) // 2, generator=generator, device="cpu")


def assign_buckets(query: Tensor, rotations: Tensor, factors: Sequence[int]) -> Tensor:
    """Return the bucket ids (B, H, R, T) of `query` (B, H, T, E), int64 from 0 to the product of `factors` - 1.

    One round is argmax([x R, -x R]) for each factor; two factors b1, b2 combine to a1 + b1 a2.
    """
    with torch.no_grad(), without_autocast(query):
        # Half precision would flip buckets between near-equal axes.
        work = torch.promote_types(query.dtype, torch.float32)
        axes = rotations.to(query.device, work)
        B, H, T, _ = query.shape
        buckets = torch.empty(B, H, axes.shape[1], T, dtype=torch.int64, device=query.device)
        n = max(1, AXES_AT_ONCE.get(processor_of(query), 2**26) // (H * axes[0].numel()))
        for sequence, into in zip(query, buckets, strict=True):
            # What fits the cache takes a third of the time.
            for start in range(0, T, n):
                tokens = slice(start, start + n)
                into[:, :, tokens] = _hash(sequence[:, tokens].to(work), axes, factors).mT
        return buckets


def _hash(query: Tensor, axes: Tensor, factors: Sequence[int]) -> Tensor:
    """Return the bucket ids (H, n, R) of `query` (H, n, E), given all rounds' `axes` (E, R, half the factors' sum)."""
    rotated = torch.bmm(query, axes.flatten(1).expand(len(query), -1, -1))
    rotated = rotated.view(*query.shape[:2], *axes.shape[1:])  # (H, n, R, axes)
    first, *others = torch.split(rotated, [factor // 2 for factor in factors], -1)
    buckets, stride = _nearest_axis(first), factors[0]
    for factor, part in zip(factors[1:], others, strict=True):
        buckets.add_(_nearest_axis(part), alpha=stride)
        stride *= factor
    return buckets


def _nearest_axis(rotated: Tensor) -> Tensor:
    """Return which of [x, -x] is the largest, (...), int64, given `rotated` x (..., axes)."""
    # By size and then sign, because the maximum of half as many takes half the time.
    axis = rotated.abs().max(-1, keepdim=True).indices
    negative = rotated.gather(-1, axis) < 0
    return axis.add_(negative, alpha=rotated.shape[-1]).squeeze(-1)


def centre(query: Tensor, valid: Tensor | None, causal: bool) -> Tensor:
    """Subtract from `query` (B, H, T, E) its mean over valid tokens, in causal models over those up to each position.

    Not in the paper: a component that all queries share would send most of them to one bucket.
    """
    real = torch.ones_like(query[..., :1]) if valid is None else valid[:, None, :, None].to(query.dtype)
    if causal:
        total, count = (query * real).cumsum(2), real.cumsum(2)
    else:
        total, count = (query * real).sum(2, keepdim=True), real.sum(2, keepdim=True)
    return query - total / count.clamp(min=1)


def smallest_integer(n_values: int) -> torch.dtype:
    """Return the smallest integer type that holds 0 to `n_values` - 1: what is kept per layer should be small."""
    if n_values <= 2**8:
        return torch.uint8
    return torch.int16 if n_values <= 2**15 else torch.int32
