"""A grey as a number, not as one of 256 symbols, as the state-space models of the Long Range Arena read pixels.

Source: Gu et al. 2022, Efficiently Modeling Long Sequences with Structured State Spaces: their data set standardises
CIFAR-10's greys, and a linear layer widens each number.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attention_arena.objectives import Classification
from attention_arena.variant import ModelShape

MEAN, DEVIATION = 122.6, 61.0
"""Of CIFAR-10's greys, as Gu et al. round them."""


class PixelValues(nn.Module):
    """One learned direction, as long as the grey is far from the mean, and one learned offset.

    Both weights (D,) begin as rows of the table of symbols do: normal with deviation D^-1/2, and the offset as zero.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(d_model))
        self.offset = nn.Parameter(torch.zeros(d_model))
        nn.init.normal_(self.weight, std=d_model**-0.5)

    def forward(self, greys: Tensor) -> Tensor:
        """Return vectors (B, T, D) of greys (B, T) from 0 to 255."""
        standard = (greys.to(self.weight.dtype) - MEAN) / DEVIATION
        return standard[..., None] * self.weight + self.offset


class ClassificationOfValues(Classification):
    """Classification of sequences of numbers from 0 to 255."""

    def build_embedding(self, shape: ModelShape, vocab_size: int) -> nn.Module:
        """Return the module from greys (B, T) to vectors (B, T, D)."""
        return PixelValues(shape.d_model)
