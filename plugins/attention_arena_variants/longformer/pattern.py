"""Which pairs of tokens one layer of Longformer compares (Beltagy et al. 2020, section 3.1)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from attention_arena_variants.longformer.layout import Band


class Pattern(NamedTuple):
    """The windows of one layer's heads: `window` positions in all besides the query's own, `dilation` apart.

    Both directions compare as many keys, w + 1: a bidirectional query half of the window on either side, a causal one
    the whole of it before itself.
    """

    window: int
    """Width w, even."""
    dilations: tuple[int, ...]
    """Distance of neighbouring keys, head by head; 1 leaves no gaps."""
    causal: bool

    @property
    def band(self) -> Band:
        """The window in steps of the dilation."""
        return Band(self.window, 0) if self.causal else Band(self.window // 2, self.window // 2)

    @property
    def reach(self) -> int:
        """How many positions back the widest head sees."""
        return self.band.before * max(self.dilations)

    def in_window(self, T: int, device: torch.device) -> Tensor:
        """Return which pairs of T tokens lie in the window, (H, T, T) bool: query, key."""
        positions = torch.arange(T, device=device)
        ahead = positions - positions[:, None]  # (T, T): key less query
        dilation = torch.tensor(self.dilations, device=device)[:, None, None]
        before, after = self.band
        return (ahead % dilation == 0) & (ahead >= -before * dilation) & (ahead <= after * dilation)

    def in_sight(self, T: int, device: torch.device) -> Tensor:
        """Return which pairs a token may compare that sees everything, (T, T) bool: all, or j <= i where causal."""
        everything = torch.ones(T, T, dtype=torch.bool, device=device)
        return everything.tril() if self.causal else everything

    def heads_by_dilation(self) -> dict[int, list[int]]:
        """Return dilation -> its heads."""
        heads: dict[int, list[int]] = {}
        for head, dilation in enumerate(self.dilations):
            heads.setdefault(dilation, []).append(head)
        return heads
