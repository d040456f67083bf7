"""Batches of a task's form at any length, to measure cost without regard to content."""

from __future__ import annotations

import torch
from torch import Tensor

from attention_arena.task import Batch, TaskData


def synthetic_batch(data: TaskData, batch_size: int, length: int, seed: int, device: torch.device) -> Batch:
    """Return a full random batch (batch_size, length) of the form of the task's own training batches.

    No position is padding. Where the task scores only some of its real positions (masked tokens, answers), the same
    share of positions is scored here, at random places, the same number in every row and one at least.
    """
    like = next(iter(data.train.batches(64)))
    generator = torch.Generator().manual_seed(seed)
    tokens_size = (batch_size, *like.tokens.shape[1:-1], length)
    tokens = torch.randint(0, data.vocab_size, tokens_size, generator=generator)
    if like.targets.dim() == 1:
        targets = torch.randint(0, int(like.targets.max()) + 1, (batch_size,), generator=generator)
        return Batch(tokens, targets).to(device)
    targets = torch.randint(0, data.vocab_size, (batch_size, length), generator=generator)
    return Batch(tokens, targets, scored=_scored(like, batch_size, length, generator)).to(device)


def _scored(like: Batch, batch_size: int, length: int, generator: torch.Generator) -> Tensor | None:
    """Return which positions (batch_size, length) count, as large a share as in `like`; None where all do."""
    if like.scored is None:
        return None
    n_real = like.targets.numel() if like.valid is None else int(like.valid.sum())
    n_scored = max(1, round(length * int(like.scored.sum()) / n_real))
    if n_scored >= length:
        return None
    order = torch.rand(batch_size, length, generator=generator).argsort(dim=1)
    return order < n_scored
