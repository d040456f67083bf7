"""Relative positions in the scores (Dai et al. 2019, section 3.3; Shaw et al. 2018).

A token at distance d before the query adds to its score a term that depends on d and on the query, never on where the
two stand in the text, so that a memory of earlier tokens can be attended to at its true distance. Further letter:
W distances, from the largest down.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from attention_arena.layers import Linear, sinusoids
from attention_arena.variant import ModelShape

INITIAL_DEVIATION = 0.02


def distances(n_queries: int, n_keys: int, causal: bool, device: torch.device) -> Tensor:
    """Return the distances (W,) from the last query to the first key, `n_keys - 1`, down to one that no key has.

    Keys end where queries end. The smallest distance of a key is 0 in causal attention and `1 - n_queries` otherwise;
    the one below it lets `shift` return a view.
    """
    below_nearest = -1 if causal else -n_queries
    return torch.arange(n_keys - 1, below_nearest - 1, -1, device=device)


def shift(scores: Tensor, n_keys: int) -> Tensor:
    """Turn scores by distance (..., T, W) into scores by key (..., T, S), without a copy.

    Query i finds key j in column T - 1 - i + j, so row i moves left by T - 1 - i. With W above S that is the same as
    to read the numbers in rows of W - 1 after dropping the first T - 1. (The paper's code prepends a column of zeros
    and drops the first row, with the same result and two copies.) Keys after the query, in causal attention, receive
    numbers without a meaning; the mask removes them.
    """
    T, W = scores.shape[-2:]
    if n_keys >= W:
        raise ValueError(f"shift needs scores of more distances than keys ({n_keys}), got {W}")
    numbers = scores.flatten(-2)[..., T - 1 : T - 1 + T * (W - 1)]
    return numbers.view(*scores.shape[:-2], T, W - 1)[..., :n_keys]  # (..., T, S)


class SinusoidTable:
    """Sinusoids of distances, computed once in float64 and kept per type and device; shared by all layers."""

    def __init__(self, width: int) -> None:
        self.width = width
        self._rows: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def rows(self, distances: Tensor, reach: int, dtype: torch.dtype) -> Tensor:
        """Return sinusoids (W, D) of `distances` (W,), none of which is beyond `reach` on either side."""
        place = (dtype, distances.device)
        table = self._rows.get(place)
        if table is None or len(table) < 2 * reach + 1:
            table = self._rows[place] = self._compute(reach, dtype, distances.device)
        return table[distances + len(table) // 2]

    def _compute(self, reach: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        reach = 1 << reach.bit_length()  # a memory that grows step by step must not recompute at each one
        with torch.inference_mode(False), torch.no_grad():  # a later forward may need gradients
            return sinusoids(torch.arange(-reach, reach + 1, device=device), self.width).to(dtype)


class QueryBiases(nn.Module):
    """Two vectors per head that stand in for the query: `content` (u in the paper) and `position` (v), (H, E) each."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.content = nn.Parameter(torch.empty(shape.n_heads, shape.d_head))
        self.position = nn.Parameter(torch.empty(shape.n_heads, shape.d_head))
        for bias in (self.content, self.position):
            nn.init.normal_(bias, std=INITIAL_DEVIATION)


class Positions(NamedTuple):
    """What relative positions bring to a layer's scores.

    - `vectors` (H, E, W): of distances from the largest down, compared with queries.
    - `of_content`, `of_position` (H, E): what is added to a query before it is compared with keys (u in the paper) and
      with vectors (v); None adds nothing.
    """

    vectors: Tensor
    of_content: Tensor | None = None
    of_position: Tensor | None = None


class RelativeTerms(nn.Module):
    """What relative positions add to the scores of a layer; a subclass says what vector a distance has.

    At evaluation, distances beyond `clamp_length` count as that one.
    """

    def __init__(self, shape: ModelShape, clamp_length: int | None) -> None:
        super().__init__()
        self.n_heads = shape.n_heads
        self.causal = shape.causal
        self.clamp_length = clamp_length

    def vectors(self, distances: Tensor, reach: int, dtype: torch.dtype) -> Tensor:
        """Return the vectors (H, E, W), or (1, E, W) for all heads, of `distances` (W,) within `reach`."""
        raise NotImplementedError(f"{type(self).__name__} has no vectors")

    def biases_of_queries(self) -> tuple[Tensor | None, Tensor | None]:
        """Return what is added to queries before they are compared with keys and with vectors, (H, E) each."""
        return None, None

    def positions(self, n_queries: int, n_keys: int, dtype: torch.dtype, device: torch.device) -> Positions:
        """Return vectors of the `distances` of queries and keys, in a type and on a device, and the biases."""
        steps = distances(n_queries, n_keys, self.causal, device)
        if self.clamp_length is not None and not self.training:
            steps = steps.clamp(-self.clamp_length, self.clamp_length)
        vectors = self.vectors(steps, max(n_keys, n_queries), dtype).to(dtype)
        return Positions(vectors.expand(self.n_heads, -1, -1), *self.biases_of_queries())


class XLTerms(RelativeTerms):
    """Transformer-XL's four terms: (q + u) k and (q + v) W R, where R are sinusoids of distances and W is learned.

    The sinusoids pass through the model's dropout, with a mask of each layer's own.
    """

    def __init__(self, shape: ModelShape, biases: QueryBiases, table: SinusoidTable, clamp_length: int | None) -> None:
        super().__init__(shape, clamp_length)
        self.biases = biases
        self.table = table
        self.dropout = shape.dropout
        self.project = Linear(shape.d_model, shape.d_model, bias=False, wide=True)
        nn.init.normal_(self.project.weight, std=INITIAL_DEVIATION)

    def vectors(self, distances: Tensor, reach: int, dtype: torch.dtype) -> Tensor:
        """Return projected sinusoids (H, E, W)."""
        rows = functional.dropout(self.table.rows(distances, reach, dtype), self.dropout, self.training)
        projected: Tensor = self.project(rows)  # (W, D)
        return projected.view(len(rows), self.n_heads, -1).permute(1, 2, 0)

    def biases_of_queries(self) -> tuple[Tensor, Tensor]:
        """Return u and v (H, E)."""
        return self.biases.content, self.biases.position


class ShawTerms(RelativeTerms):
    """Shaw's two terms: q k and q a, where a is a learned vector per distance, shared by the heads of a layer.

    Distances beyond the ones that training can meet (`n_before` and `n_after`) count as the outermost.
    """

    def __init__(self, shape: ModelShape, n_before: int, n_after: int, clamp_length: int | None) -> None:
        super().__init__(shape, clamp_length)
        self.n_before = n_before
        self.n_after = n_after
        self.table = nn.Parameter(torch.empty(n_after + 1 + n_before, shape.d_head))
        nn.init.normal_(self.table, std=INITIAL_DEVIATION)

    def vectors(self, distances: Tensor, reach: int, dtype: torch.dtype) -> Tensor:
        """Return learned vectors (1, E, W)."""
        rows = self.table[distances.clamp(-self.n_after, self.n_before) + self.n_after]  # (W, E)
        return rows.T.unsqueeze(0)
