"""What blocked forms need of a device: which processor to fit, and memory that is used again."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def processor_of(x: Tensor | torch.device) -> str:
    """Return the type of device whose sizes of blocks to take: that of `x`, and `cpu` for `meta`.

    So what is counted on `meta`, where there are shapes alone, is what a CPU computes.
    """
    device = x.device if isinstance(x, Tensor) else x
    return "cpu" if device.type == "meta" else device.type


class Scratch:
    """Gives tensors on one device; those asked for by one name share their memory.

    Asking the system for fresh memory would cost as much as the products of a small block.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype, self.device = dtype, device
        self._held: dict[str, Tensor] = {}

    def __call__(self, name: str, *size: int, dtype: torch.dtype | None = None, at_least: int = 0) -> Tensor:
        """Return a tensor of `size` with any content; the one before under `name`, of the same dtype, is lost.

        Memory is taken for `at_least` so many numbers, if that is more.
        """
        n = math.prod(size)
        if name not in self._held or len(self._held[name]) < n:
            self._held[name] = torch.empty(max(n, at_least), dtype=dtype or self.dtype, device=self.device)
        return self._held[name][:n].view(size)
