"""How far random features are from the softmax attention that they estimate, on given queries and keys.

Letters beside the usual ones: n real tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from attention_arena_variants.performer.attention import weigh_plainly
from attention_arena_variants.performer.features import FeatureMap


class Exact(NamedTuple):
    """Softmax attention of one sequence, and what it was computed from, in float64."""

    query: Tensor
    """(H, n, E), as are key and value."""
    key: Tensor
    value: Tensor
    allowed: Tensor
    """(n, n) bool."""
    weights: Tensor
    """(H, n, n)."""


class Errors(NamedTuple):
    """Errors of weights, averaged over heads."""

    matrix: float
    """Frobenius norm of the difference, over that of softmax's weights."""
    variation: float
    """Half the sum of absolute differences of a row (total variation where rows are distributions), mean over rows."""
    output: float
    """Frobenius norm of the difference of weights times values, over that of softmax's."""


def attend_exactly(query: Tensor, key: Tensor, value: Tensor, causal: bool) -> Exact:
    """Return softmax attention of one sequence without padding, from query, key and value (H, n, E) of any type."""
    query, key, value = (x.double() for x in (query, key, value))
    n, E = query.shape[-2:]
    allowed = torch.ones(n, n, dtype=torch.bool, device=query.device)
    allowed = allowed.tril() if causal else allowed
    scores = query @ key.mT * E**-0.5
    return Exact(query, key, value, allowed, scores.masked_fill(~allowed, -torch.inf).softmax(-1))


def errors_of(weights: Tensor, exact: Exact) -> Errors:
    """Return the errors of `weights` (H, n, n)."""
    difference = weights - exact.weights
    matrix = _size(difference) / _size(exact.weights)
    output = _size(difference @ exact.value) / _size(exact.weights @ exact.value)
    variation = difference.abs().sum(-1).mean(-1) / 2
    return Errors(float(matrix.mean()), float(variation.mean()), float(output.mean()))


def errors_of_features(kernel: FeatureMap, directions: Tensor, min_denominator: float, exact: Exact) -> Errors:
    """Return the errors of attention by the kernel's features under `directions` (H or 1, m, E)."""
    directions = directions.to(exact.query)
    weights = weigh_plainly(exact.query, exact.key, directions, kernel, exact.allowed, min_denominator)
    return errors_of(weights, exact)


def errors_of_uniform(exact: Exact) -> Errors:
    """Return the errors of weighing all keys alike, which needs no features."""
    weights = exact.allowed.double() / exact.allowed.sum(-1, keepdim=True)
    return errors_of(weights.expand_as(exact.weights), exact)


def _size(x: Tensor) -> Tensor:
    return x.square().sum((-2, -1)).sqrt()
