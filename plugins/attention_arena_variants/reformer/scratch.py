"""Memory that is used again, because asking the system for fresh memory would cost as much as the products."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Scratch:
    """Gives tensors on one device, floats by default; those asked for by one name share their memory."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype, self.device = dtype, device
        self._held: dict[str, Tensor] = {}

    def __call__(self, name: str, *size: int, dtype: torch.dtype | None = None) -> Tensor:
        """Return a tensor of `size` with any content; the one before under `name`, of the same dtype, is lost."""
        n = math.prod(size)
        if name not in self._held or len(self._held[name]) < n:
            self._held[name] = torch.empty(n, dtype=dtype or self.dtype, device=self.device)
        return self._held[name][:n].view(size)
