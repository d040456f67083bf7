"""Rows of a number that every head of every layer has, from its values on several sequences."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from attention_arena.measure import Measurement
from attention_arena.statistics import mean_interval


def rows_by_head(blank: Measurement, values: Sequence[Tensor], most: float = math.inf) -> list[Measurement]:
    """Return `blank` filled for the whole model, and for each layer and head, from one (L, H) of values a sequence.

    Each is the mean over sequences with its 95 % interval; that of the model is the mean over heads. Values lie between
    0 and `most`.
    """
    found = torch.stack(list(values)).double().cpu()  # (N, L, H)
    rows = [filled(blank, found.mean((1, 2)).tolist(), most)]
    for layer, of_layer in enumerate(found.unbind(1)):
        for head, of_head in enumerate(of_layer.unbind(1)):
            rows.append(filled(blank._replace(layer=layer, head=head), of_head.tolist(), most))
    return rows


def filled(blank: Measurement, values: Sequence[float], most: float = math.inf) -> Measurement:
    """Return `blank` with the mean of values between 0 and `most`, and its interval, which stays between them."""
    mean = mean_interval(values)
    low = None if mean.low is None else max(0.0, mean.low)
    high = None if mean.high is None else min(most, mean.high)
    return blank._replace(value=mean.value, low=low, high=high, samples=mean.n)
