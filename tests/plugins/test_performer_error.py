"""Performer's error against softmax, over draws of the directions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from attention_arena_variants.performer.features import Exponential, FeatureMap, Trigonometric
from attention_arena_variants.performer.mixture import attend_by_mixture
from attention_arena_variants.performer.projections import Distribution, draw_directions

E = 16
POSITIVE, TRIGONOMETRIC = Exponential(E**-0.25), Trigonometric(E**-0.25)

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


def tokens(n_draws: int, n: int, spread: float, seed: int) -> Tensor:
    """Return one vector (1, n_draws, n, E) for each draw and token, of standard deviation `spread`."""
    return spread * torch.randn(1, n_draws, n, E, generator=torch.Generator().manual_seed(seed))


def draws(distribution: Distribution, n_draws: int, m: int) -> Tensor:
    """Return `n_draws` draws of `m` directions (n_draws, m, E), as if each were a head's."""
    generator = torch.Generator().manual_seed(0)
    return torch.stack([draw_directions(distribution, m, E, generator).float() for _ in range(n_draws)])


def mean_squared_error(distribution: Distribution, m: int, n_draws: int = 60, n: int = 256) -> float:
    """Return the error of attention outputs at queries and keys of standard deviation 0.5."""
    query, key = (tokens(n_draws, n, 0.5, seed) for seed in (1, 2))
    value = tokens(n_draws, n, 1.0, 3)
    found = attend_by_mixture(query, key, value, None, draws(distribution, n_draws, m), POSITIVE)
    return (found - functional.scaled_dot_product_attention(query, key, value)).square().mean().item()


def weights(query: Tensor, key: Tensor, kernel: FeatureMap, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Return estimates (..., n) of exp(q . k / sqrt(E)) and their sums (..., 1)."""
    matrix = kernel.phi(query, directions) @ kernel.phi(key, directions).mT
    return matrix, matrix.sum(-1, keepdim=True)


def test_p4_the_error_falls_with_every_doubling_of_the_features() -> None:
    """From 16 to 512 features by more than 8 times, over 60 draws."""
    errors = [mean_squared_error("orthogonal", m) for m in (16, 32, 64, 128, 256, 512)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] <= errors[0] / 8


def test_p5_orthogonal_directions_lower_the_error() -> None:
    """By 5 % or more, averaged over the number of features."""
    ratios = [mean_squared_error("orthogonal", m) / mean_squared_error("iid", m) for m in (16, 32, 64, 128)]
    assert sum(ratios) / len(ratios) <= 0.95


def test_p7_trigonometric_features_fail_where_positive_ones_do_not() -> None:
    """At standard deviation 1 some of their sums are negative, and the median error is 100 times as large."""
    n_draws, n = 40, 256
    query, key, value = (tokens(n_draws, n, 1.0, seed).double() for seed in (1, 2, 3))
    expected = functional.scaled_dot_product_attention(query, key, value)
    medians, lowest = {}, {}
    for name, kernel in (("trigonometric", TRIGONOMETRIC), ("positive", POSITIVE)):
        matrix, total = weights(query, key, kernel, draws("orthogonal", n_draws, 64).double())
        errors = (matrix @ value / total - expected).square().mean((0, 2, 3))
        medians[name], lowest[name] = errors.median(), total.min()
    assert lowest["trigonometric"] <= 0 < lowest["positive"]
    assert medians["trigonometric"] >= 100 * medians["positive"]


def test_p9_the_error_does_not_depend_on_the_length() -> None:
    """The relative error of attention's weights at 64 features, within 30 % from 256 to 4096 tokens."""
    n_draws, n_queries = 40, 48
    directions = draws("orthogonal", n_draws, 64)
    errors = []
    for n in (256, 1024, 4096):
        query, key = tokens(n_draws, n_queries, 0.5, 1), tokens(n_draws, n, 0.5, 2)
        matrix, total = weights(query, key, POSITIVE, directions)
        expected = (query @ key.mT * E**-0.5).softmax(-1)
        errors.append(((matrix / total - expected) / expected).square().mean().item())
    assert max(errors) <= 1.3 * min(errors)
