"""How a query's attention is spread over its keys: how many hold most of it, how far away, and its entropy.

Mass is (..., T, S): the weights of T queries over S keys, of which the last T are the queries' own tokens; each row
sums to 1, or to 0 where a query attends to nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDING = 1e-5
"""Mass that may be missing from a share of it by rounding alone."""


def allowed_keys(n_queries: int, n_keys: int, causal: bool, device: torch.device) -> Tensor:
    """Return how many keys each query may see, (T,): all, or those up to itself."""
    if not causal:
        return torch.full((n_queries,), n_keys, device=device)
    return torch.arange(n_keys - n_queries + 1, n_keys + 1, device=device)


def keys_for(mass: Tensor, share: float) -> Tensor:
    """Return the fewest keys that hold `share` of each query's mass, (..., T); 0 for a query without any."""
    return _first_reaching(mass.sort(dim=-1, descending=True).values, share, mass.sum(-1)) + (mass.sum(-1) > 0)


def span_for(mass: Tensor, share: float) -> Tensor:
    """Return the least distance within which `share` of each query's mass lies, on both sides, (..., T) in tokens."""
    T, S = mass.shape[-2:]
    places = torch.arange(S, device=mass.device)
    distance = (places[S - T :, None] - places).abs()  # (T, S)
    by_distance = torch.zeros_like(mass).scatter_add(-1, distance.expand_as(mass), mass)
    return _first_reaching(by_distance, share, mass.sum(-1))


def entropy(mass: Tensor) -> Tensor:
    """Return the entropy of each query's mass in bits, (..., T): log2 of as many equally weighted keys."""
    return -torch.xlogy(mass, mass).sum(-1) / torch.log(torch.tensor(2.0, dtype=mass.dtype, device=mass.device))


def _first_reaching(parts: Tensor, share: float, total: Tensor) -> Tensor:
    """Return the first place along the last dimension at which the sum of `parts` so far is `share` of the total."""
    short = parts.double().cumsum(-1) < (share - ROUNDING) * total.double().unsqueeze(-1)
    return short.sum(-1)
