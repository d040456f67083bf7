"""Attention weights of any attention that is linear in its values, without code of its own.

Heads are weights times values. Where query and key are given and the values are columns of the identity, heads are
columns of the weights, so that S / E passes show the whole matrix, exactly, whatever form computes it. Signed weights
(an estimate of softmax, a projection of the sequence) come out as they are.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

TOLERANCE = 1e-3
"""Largest difference between heads and weights times values, relative to the largest sum of sizes of its terms."""


class NoWeightsError(ValueError):
    """An attention has no weights: its heads are not one matrix per head times the values."""


def weights_of(attend: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
    """Return the weights (B, H, T, S) under which `attend`, from values (B, H, S, E) to heads (B, H, T, E), sums them.

    `value` (B, H, S, E) is that of the layer's own input: `attend` of it must be the weights times it. Every call sees
    the same state of PyTorch's generators, so that an `attend` that draws decides alike each time; the state is
    restored. Raises NoWeightsError for an `attend` that is not linear in its values, that weighs the channels of a head
    differently, or that decides anew at each call.
    """
    B, H, S, E = value.shape
    devices = [value.device] if value.device.type == "cuda" else []
    identity = torch.eye(S, dtype=value.dtype, device=value.device)
    parts = []
    with torch.no_grad():
        for start in range(0, S, E):
            width = min(E, S - start)
            columns = torch.zeros(S, E, dtype=value.dtype, device=value.device)
            columns[:, :width] = identity[:, start : start + width]
            with torch.random.fork_rng(devices):
                # Copied, because a part of it may be written over by the next call.
                parts.append(attend(columns.expand(B, H, S, E).contiguous())[..., :width].clone())
        weights = torch.cat(parts, dim=-1)  # (B, H, T, S)
        with torch.random.fork_rng(devices):
            _require_product(attend(value), weights, value)
    return weights


def _require_product(heads: Tensor, weights: Tensor, value: Tensor) -> None:
    error = float((heads - weights @ value).abs().max())
    scale = float((weights.abs() @ value.abs()).max())
    # Written so that NaN is an error too.
    if not error <= TOLERANCE * scale:
        raise NoWeightsError(
            f"heads are not one matrix per head times the values: they differ by {error:.2g} where terms sum to"
            f" {scale:.2g} at most; attention that is not linear in its values, or weighs each channel in its own way,"
            " has no weights"
        )
