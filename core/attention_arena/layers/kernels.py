"""The softmax of one part of a union: heads with their log mass forward, and gradients given the mass of the whole.

Letters beside the usual ones: N layout rows (batch times blocks); P queries and Q keys of a layout row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attention_arena.layers.scratch import processor_of

SCORES_AT_ONCE = 2**26
"""Scores in memory at a time where no fused kernel serves: a quarter of a gigabyte in float32."""


class Rows(NamedTuple):
    """What attends to what: query (N, H, P, E), key and value (N, H, Q, E).

    - `mask`: what is added to scores, broadcastable to (N, H, P, Q); None means nothing.
    - `kept`: which weights (N, H, P, Q) dropout keeps, bool; None means all.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    kept: Tensor | None
    scale: float


class Found(NamedTuple):
    """What backward knows of queries: gradient and result (N, H, P, E), log mass (N, H, P, 1) of the whole union."""

    grad: Tensor
    out: Tensor
    log_mass: Tensor


class FusedKernel:
    """PyTorch's fused attention for CPUs, by the operators under `scaled_dot_product_attention`.

    The public function returns no log mass, without which parts cannot be weighed. `PlainKernel` is the same function,
    and serves where these operators do not. Heads of half precision come in float32, because few CPUs multiply it fast.
    """

    name = "_scaled_dot_product_flash_attention_for_cpu"

    def serves(self, query: Tensor) -> bool:
        """Whether the operators exist and take these heads; `meta` counts as a CPU, so that its cost can be counted."""
        return processor_of(query) == "cpu" and hasattr(torch.ops.aten, self.name)

    def type_of(self, dtype: torch.dtype) -> torch.dtype:
        """Return the type in which heads of `dtype` are given to it."""
        return torch.promote_types(dtype, torch.float32)

    def draw_kept(self, query: Tensor, key: Tensor) -> Tensor | None:
        """Return None: the kernel drops nothing."""
        return None

    def forward(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Return heads (N, H, P, E) and log mass (N, H, P)."""
        attend = getattr(torch.ops.aten, self.name)
        return attend(*rows[:3], 0.0, False, attn_mask=rows.mask, scale=rows.scale)  # type: ignore[no-any-return]

    def backward(self, rows: Rows, found: Found) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of query, key and value."""
        attend = getattr(torch.ops.aten, self.name + "_backward")
        heads = found.grad, *rows[:3], found.out
        log_mass = found.log_mass.squeeze(-1)
        return attend(*heads, log_mass, 0.0, False, attn_mask=rows.mask, scale=rows.scale)  # type: ignore[no-any-return]


FUSED = FusedKernel()


class PlainKernel:
    """The same by matrix products, with scores of some layout rows in memory at a time, and with dropout of weights."""

    def __init__(self, dropout: float = 0.0) -> None:
        self.dropout = dropout

    def type_of(self, dtype: torch.dtype) -> torch.dtype:
        """Return the type in which heads of `dtype` are given to it: their own."""
        return dtype

    def draw_kept(self, query: Tensor, key: Tensor) -> Tensor | None:
        """Return which weights (N, H, P, Q) dropout keeps, bool; None without dropout."""
        if not self.dropout:
            return None
        with torch.inference_mode(False):  # backward reads it again
            return torch.rand(*query.shape[:3], key.shape[2], device=query.device) >= self.dropout

    def forward(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Return heads (N, H, P, E) and log mass (N, H, P)."""
        heads, masses = [], []
        for some, _ in _some_at_a_time(rows):
            scores = _scores(some)
            log_mass = scores.logsumexp(-1)
            weights = self._drop(scores.sub_(log_mass.unsqueeze(-1)).exp_(), some.kept)
            heads.append(weights.to(some.value.dtype) @ some.value)
            masses.append(log_mass)
        return torch.cat(heads), torch.cat(masses)

    def backward(self, rows: Rows, found: Found) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of query, key and value."""
        along = (found.grad.to(found.log_mass.dtype) * found.out).sum(-1, keepdim=True)  # (N, H, P, 1)
        gradients = []
        for some, (g, a, mass) in _some_at_a_time(rows, found.grad, along, found.log_mass):
            probabilities = _scores(some).sub_(mass).exp_()
            grad_weights = self._drop((g @ some.value.transpose(-1, -2)).to(mass.dtype), some.kept)
            grad_scores = grad_weights.sub_(a).mul_(probabilities).mul_(some.scale).to(some.query.dtype)
            weights = self._drop(probabilities, some.kept).to(g.dtype)
            of_value = weights.transpose(-1, -2) @ g
            gradients.append((grad_scores @ some.key, grad_scores.transpose(-1, -2) @ some.query, of_value))
        of_query, of_key, of_value = (torch.cat(pieces) for pieces in zip(*gradients, strict=True))
        return of_query, of_key, of_value

    def _drop(self, weights: Tensor, kept: Tensor | None) -> Tensor:
        return weights if kept is None else weights.mul_(kept).div_(1 - self.dropout)


Kernel = FusedKernel | PlainKernel


def _scores(rows: Rows) -> Tensor:
    """Return scores (N, H, P, Q) in at least float32."""
    scores = rows.query @ rows.key.transpose(-1, -2)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32)).mul_(rows.scale)
    return scores if rows.mask is None else scores.add_(rows.mask)


def _some_at_a_time(rows: Rows, *tensors: Tensor) -> Iterator[tuple[Rows, list[Tensor]]]:
    """Yield some layout rows, and what `tensors` (N, ...) have of them, after the other."""
    N, H, P, _ = rows.query.shape
    n = max(1, SCORES_AT_ONCE // (H * P * rows.key.shape[2]))

    for start in range(0, N, n):
        chosen = slice(start, start + n)
        yield Rows(*(_part(x, chosen) for x in rows)), [_part(x, chosen) for x in tensors]


def _part(x: Any, chosen: slice) -> Any:
    """Return some rows of a tensor that has more than one; anything else as it is."""
    return x[chosen] if isinstance(x, Tensor) and len(x) > 1 else x
