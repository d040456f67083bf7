"""Attention matrices of no meaning, for comparison: what a spectrum would be by chance.

A softmax of almost anything has few large singular values (Wang et al. 2020 show such a spectrum of trained models as
evidence of low rank), so a spectrum says something only beside these. Each reference attends to the same places as the
weights that it stands beside (H, T, S), and as unevenly.
"""

from __future__ import annotations

import torch
from torch import Tensor


class NoReferenceError(ValueError):
    """Weights to which a reference does not apply."""


def uniform(weights: Tensor) -> Tensor:
    """Return equal weights wherever `weights` (H, T, S) are not 0."""
    seen = (weights != 0).to(weights.dtype)
    return seen / seen.sum(-1, keepdim=True).clamp(min=1.0)


def shuffled_rows(weights: Tensor, generator: torch.Generator) -> Tensor:
    """Return each query's own weights (H, T, S), handed out anew among the keys that it attends to."""
    seen = weights != 0
    chance = _draw(weights.shape, generator, weights).masked_fill(~seen, torch.inf)
    # Both orders begin with the keys that are attended to: one in the order of position, one by chance.
    by_position, by_chance = (~seen).to(torch.uint8).argsort(dim=-1, stable=True), chance.argsort(dim=-1)
    return torch.zeros_like(weights).scatter(-1, by_chance, weights.gather(-1, by_position))


def random_logits(weights: Tensor, generator: torch.Generator) -> Tensor:
    """Return the softmax of independent Gaussian logits that vary within rows as those of `weights` (H, T, S) do.

    Raises NoReferenceError for weights below 0, which no softmax gives.
    """
    return _matched(_draw(weights.shape, generator, weights), weights)


def random_queries_and_keys(weights: Tensor, d_head: int, generator: torch.Generator) -> Tensor:
    """Return the same for logits that are products of Gaussian queries and keys `d_head` wide.

    Their rank is that of heads, which alone makes a spectrum fall: what a trained model must be compared with.
    """
    H, T, S = weights.shape
    query, key = _draw((H, T, d_head), generator, weights), _draw((H, S, d_head), generator, weights)
    return _matched(query @ key.mT, weights)


def spread(logits: Tensor, seen: Tensor) -> Tensor:
    """Return the standard deviation of logits (H, T, S) within rows, over the pairs `seen`, (H, 1, 1).

    Logs of a softmax's weights are its logits up to a constant per row, so this is theirs too.
    """
    count = seen.sum(-1, keepdim=True).clamp(min=1)
    kept = logits.where(seen, 0.0)
    centred = (kept - kept.sum(-1, keepdim=True) / count).where(seen, 0.0)
    return (centred.square().sum((-2, -1), keepdim=True) / seen.sum((-2, -1), keepdim=True).clamp(min=1)).sqrt()


def _matched(logits: Tensor, weights: Tensor) -> Tensor:
    """Return the softmax of `logits` over the pairs of `weights` that are not 0, scaled to the spread of theirs."""
    if bool((weights < 0).any()):
        raise NoReferenceError("some weights are negative, so they are no softmax of logits")
    seen = weights > 0
    wanted = spread(weights.where(seen, 1.0).log(), seen)
    found = spread(logits, seen)
    scaled = logits * wanted / found.where(found > 0, 1.0)
    empty = ~seen.any(-1, keepdim=True)
    return scaled.masked_fill(~seen & ~empty, -torch.inf).softmax(-1).masked_fill(empty, 0.0)


def _draw(shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    """Return Gaussian numbers, drawn on the CPU so that every device has the same."""
    return torch.randn(shape, generator=generator).to(like)
