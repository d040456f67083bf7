"""Pairs that do not count, as numbers that are added to their scores."""

from __future__ import annotations

import torch
from torch import Tensor


def hidden_score(dtype: torch.dtype) -> float:
    """Return a score of which no weight is left: finite, so that no difference of two is NaN."""
    return torch.finfo(dtype).min / 4


def add_where(hidden: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what to add to scores, of the shape of `hidden`, bool: 0, or where it is true the `hidden_score`.

    A query whose keys are all hidden has weights that are numbers, equal if its scores are; its heads are to be zeroed.
    """
    return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, hidden_score(dtype))
