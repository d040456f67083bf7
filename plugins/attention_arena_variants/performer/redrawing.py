"""Directions that are drawn anew from time to time, so that no layer can adapt to the errors of one draw."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Draw = Callable[[torch.Generator], Tensor]
"""Generator on the CPU -> directions (H or 1, m, E)."""


class Directions(nn.Module):
    """Directions (H or 1, m, E), drawn when built and again after every `interval` forwards of training; 0 never.

    Each draw follows from a seed of the module's own, the first one taken from the global CPU generator. The seed and
    the forwards so far travel in the state dict, so that a loaded module draws what the saved one would have.
    """

    current: Tensor

    def __init__(self, draw: Draw, interval: int) -> None:
        super().__init__()
        self.draw, self.interval = draw, interval
        self.seed, self.n_forwards = int(torch.randint(2**62, (), device="cpu")), 0
        drawn = self._draw()
        self.register_buffer("current", torch.empty(drawn.shape).copy_(drawn))

    # What a compiled graph would be made anew for, forward by forward, is left to Python.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def for_forward(self) -> Tensor:
        """Return the directions of one more forward, new ones if it is time; in evaluation the present ones."""
        if self.training and self.interval:
            if self.n_forwards == self.interval:
                # A new tensor, because graphs that are still to go backward hold the old one.
                self.current, self.n_forwards = self._draw().to(self.current), 0
            self.n_forwards += 1
        return self.current

    def get_extra_state(self) -> Tensor:
        """Return the seed of the next draw and the forwards since the last (2,)."""
        return torch.tensor([self.seed, self.n_forwards], device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        """Continue from what `get_extra_state` returned."""
        self.seed, self.n_forwards = state.tolist()

    def _draw(self) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        drawn = self.draw(generator)
        self.seed = int(torch.randint(2**62, (), generator=generator, device="cpu"))
        return drawn
