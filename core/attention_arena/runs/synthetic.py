"""Batches of a task's form at any length, to measure cost without regard to content."""

from __future__ import annotations

import torch

from attention_arena.task import Batch, TaskData


def synthetic_batch(data: TaskData, batch_size: int, length: int, seed: int, device: torch.device) -> Batch:
    """Return a full random batch (batch_size, length) of the form of the task's own training batches."""
    like = next(iter(data.train.batches(64)))
    generator = torch.Generator().manual_seed(seed)
    tokens_size = (batch_size, *like.tokens.shape[1:-1], length)
    tokens = torch.randint(0, data.vocab_size, tokens_size, generator=generator)
    if like.targets.dim() == 1:
        targets = torch.randint(0, int(like.targets.max()) + 1, (batch_size,), generator=generator)
    else:
        targets = torch.randint(0, data.vocab_size, (batch_size, length), generator=generator)
    return Batch(tokens, targets).to(device)
