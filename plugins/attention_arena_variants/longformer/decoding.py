"""Decoding token by token: the keys and values that later tokens can still reach.

They are those of the window, as far back as the most dilated head reaches, and of the global tokens at the start. Keys
of the global tokens' own projections are needed only while such tokens come.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from attention_arena_variants.longformer.pattern import Pattern


class Cache(NamedTuple):
    """Key and value (B, H, S, E) of some tokens, detached, and which of them are valid (B, S)."""

    key: Tensor
    value: Tensor
    valid: Tensor


class Kept(NamedTuple):
    """What a layer keeps between steps: `length` tokens were seen; None stands for an empty cache."""

    length: int = 0
    window: Cache | None = None
    """The last tokens."""
    first: Cache | None = None
    """The global tokens, as others see them."""
    sight: Cache | None = None
    """All tokens so far, as global tokens see them; dropped after the last of these."""


def extend(cache: Cache | None, token: Cache) -> Cache:
    """Return a cache with one more token (B, H, 1, E)."""
    if cache is None:
        return token
    key, value = (torch.cat(pair, dim=2) for pair in ((cache.key, token.key), (cache.value, token.value)))
    return Cache(key, value, torch.cat([cache.valid, token.valid], dim=1))


def forget(cache: Cache, length: int) -> Cache:
    """Return the last `length` tokens of a cache, detached."""
    start = max(0, cache.key.shape[2] - length)
    return Cache(cache.key[:, :, start:].detach(), cache.value[:, :, start:].detach(), cache.valid[:, start:])


def attend_step(query: Tensor, position: int, window: Cache, first: Cache | None, pattern: Pattern) -> Tensor:
    """Return heads (B, H, 1, E) of the query (B, H, 1, E) at `position` over its window and the global tokens.

    `window` ends with the token itself; of it, global tokens do not count.
    """
    n_first = 0 if first is None else first.key.shape[2]
    heads = torch.empty_like(query)
    for dilation, group in pattern.heads_by_dilation().items():
        places = _window_places(position, window.key.shape[2], n_first, dilation, pattern)
        key, value = window.key[:, group, places], window.value[:, group, places]
        found = Cache(key, value, window.valid[:, places])
        if first is not None:
            chosen = Cache(first.key[:, group], first.value[:, group], first.valid)
            found = extend(chosen, found)
        heads[:, group] = attend_cache(query[:, group], found)
    return heads


def _window_places(position: int, n_kept: int, n_first: int, dilation: int, pattern: Pattern) -> slice:
    """Return where, among the last `n_kept` tokens, those of a window lie that are no global tokens."""
    oldest = position + 1 - n_kept
    n_steps = min(pattern.band.before, (position - max(oldest, n_first)) // dilation)
    return slice(n_kept - 1 - n_steps * dilation, None, dilation)


def attend_cache(query: Tensor, cache: Cache) -> Tensor:
    """Return heads (B, H, 1, E) of a query over all valid tokens of a cache; zeros where there are none."""
    allowed = cache.valid[:, None, None]  # (B, 1, 1, S)
    heads = functional.scaled_dot_product_attention(query, cache.key, cache.value, attn_mask=allowed)
    return heads.masked_fill(~allowed.any(-1, keepdim=True), 0.0)
