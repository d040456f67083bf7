"""Where each hash round puts the tokens, and which of its neighbours there a token may attend to."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Rules(NamedTuple):
    """How a query attends to its window, besides what validity says."""

    chunk: int
    """Sorted tokens per chunk (m in the paper)."""
    causal: bool = False
    """Keys at later positions are out."""
    reach: int = 1
    """Largest difference of codes, query less key; the smallest is 0."""
    coded: bool = False
    """Codes restrict a round's own window, rather than serve to find duplicates alone."""
    wrap: bool = False
    """The first chunk looks back to the last one of its round."""
    duplicate_correction: bool = True
    """A pair counts once, however many rounds propose it."""
    scale: float = 1.0
    """Length of keys."""
    dropout: float = 0.0
    """Share of probabilities that are dropped."""


class Layout(NamedTuple):
    """The rounds' sorted orders, in integers as small as they fit."""

    order: Tensor
    """(B, H, R, T): position of the token at each sorted place."""
    code: Tensor | None
    """(B, H, R, T): a query may attend to keys whose code is lower by 0 to `Rules.reach`; None where none is read."""
    valid: Tensor | None
    """(B, T) bool: tokens that may be attended to."""
    kept: Tensor | None
    """(B, H, R, m, W) bool: probabilities that dropout keeps, shared over chunks."""


def lay_out(
    buckets: Tensor,
    n_buckets: int,
    valid: Tensor | None,
    rules: Rules,
    *,
    kept: Tensor | None = None,
    ranked: bool = False,
) -> Layout:
    """Sort tokens by `buckets` (B, H, R, T), ids from 0 to `n_buckets`, and code their places.

    The code is the chunk. Where buckets restrict (`rules.coded`), twice the bucket is added: sorted chunks never fall,
    so codes differ by at most 1 exactly for adjacent chunks of one bucket. With `ranked` it is the sorted place, and
    buckets lie `rules.reach` + 1 apart.
    """
    order = sort_by_bucket(buckets)
    small = smallest_code(buckets.shape[-1], n_buckets, rules)
    code = None
    if is_coded(rules, buckets.shape[2]):
        rank = invert(order)
        code = rank if ranked else rank // rules.chunk
        if rules.coded:
            code = code + (rules.reach + 1) * buckets.long()
        code = code.to(small)
    return Layout(order.to(small), code, valid, kept)


def is_coded(rules: Rules, n_hashes: int) -> bool:
    """Return whether any code is read."""
    return rules.coded or (rules.duplicate_correction and n_hashes > 1)


def smallest_code(length: int, n_buckets: int, rules: Rules) -> torch.dtype:
    """Return the smallest integer type for positions and codes of `length` tokens."""
    # Of two codes' difference, a negative one must stay apart from `reach` when its sign bit is dropped.
    largest = length + (rules.reach + 1) * (n_buckets + 1)
    return torch.int16 if largest < 2**15 else torch.int32


def sort_by_bucket(buckets: Tensor) -> Tensor:
    """Return the positions (..., T), int64, of tokens sorted by bucket id (..., T), then by position."""
    return buckets.sort(dim=-1, stable=True).indices


def invert(order: Tensor) -> Tensor:
    """Return the sorted place (..., T) of the token at each position, given positions `order` (..., T), int64."""
    places = torch.arange(order.shape[-1], device=order.device).expand(order.shape)
    return torch.empty_like(order).scatter_(-1, order, places)
