"""How totals and pairs of a causal form are brought to one gauge, and totals from chunk to chunk.

Letters beside the usual ones: N rows (batch times heads), M features, C tokens of a chunk, K chunks at a time, and
L = K C tokens in them; a total has V + 1 rows, of the numerator and of the denominator.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Decays(NamedTuple):
    """Factors, none above 1, that bring sums of several gauges to one."""

    pair: Tensor
    """(N K, C, C): from key to query; 0 for later keys."""
    past: Tensor
    """(N K, C, 1): from before the chunk to the query."""
    key: Tensor
    """(N K, C, 1): from the key to the end of the chunk."""
    between: Tensor
    """(N, K + 1, K + 1): from before a chunk, or its end, to before each later one and to the end of the last."""
    gauge: Tensor
    """(N, 1, 1): at the end of the last chunk."""

    @classmethod
    def of(cls, log_scale: Tensor, gauge: Tensor, C: int) -> Decays:
        """Return the decays of keys of `log_scale` (N, L, 1) after a past of `gauge` (N, 1, 1)."""
        running = torch.maximum(log_scale.cummax(1).values, gauge)
        gauges = torch.cat([gauge, running[:, C - 1 :: C]], dim=1)  # (N, K + 1, 1)
        of_key, of_query = by_chunk(log_scale, C), by_chunk(running, C)
        start, end = (x.reshape(-1, 1, 1) for x in (gauges[:, :-1], gauges[:, 1:]))
        return cls(
            # Exponentials of what comes later may be infinite, and are left out.
            pair=(of_key.mT - of_query).exp_().tril_(),
            past=(start - of_query).exp_(),
            key=(of_key - end).exp_(),
            between=(gauges.mT - gauges).exp_().tril_(),
            gauge=gauges[:, -1:],
        )


def by_chunk(x: Tensor, C: int) -> Tensor:
    """Return `x` (N, L, ...) as (N K, C, ...)."""
    return x.reshape(-1, C, x.shape[-1])


def carry(sums: Tensor, by: Tensor, first: Tensor | None, first_by: Tensor) -> Tensor:
    """Return `by` (N, X, K) times the `sums` (N K, V + 1, M) of chunks, (N X, V + 1, M).

    `first` (N, V + 1, M), where there is one, is added `first_by` (N, X, 1) times.
    """
    carried = torch.bmm(by, sums.view(len(by), by.shape[2], -1))
    if first is not None:
        carried.addcmul_(first_by, first.view(len(first), 1, -1))
    return carried.view(-1, *sums.shape[1:])
