"""How a row of sorted tokens is cut into chunks that look one chunk back.

Letters as in `windows`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Cut(NamedTuple):
    """How a row is cut into chunks."""

    chunk: int
    """Tokens in a chunk (m)."""
    n_chunks: int
    """Chunks in a row."""
    look_back: int
    """Keys in front of a row's first chunk: m, or 0 where a row is one chunk."""

    @classmethod
    def of(cls, length: int, chunk: int) -> Cut:
        """Cut rows of `length` tokens."""
        n_chunks = math.ceil(length / chunk)
        return cls(chunk, n_chunks, chunk if n_chunks > 1 else 0)

    @property
    def length(self) -> int:
        """Places in a row (L)."""
        return self.n_chunks * self.chunk

    @property
    def width(self) -> int:
        """Keys in a window (W)."""
        return self.look_back + self.chunk

    def chunks(self, x: Tensor) -> Tensor:
        """Return `x` (n L, ...) as a view (G, m, ...)."""
        return x.view(-1, self.chunk, *x.shape[1:])

    def windows(self, x: Tensor) -> Tensor:
        """Return `x` (look-back + n L, ...) as a view (G, W, ...) of overlapping windows."""
        n_windows = (len(x) - self.look_back) // self.chunk
        return x.as_strided((n_windows, self.width, *x.shape[1:]), (self.chunk * x.stride(0), *x.stride()))

    def look_back_from(self, x: Tensor) -> Tensor:
        """Return `x` (n L) with its last chunk in front as well, (look-back + n L)."""
        return torch.cat([x[len(x) - self.look_back :], x])
