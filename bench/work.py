"""One implementation in one cell, ready to run: what is timed, and what memory is measured of."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from bench.cases import Cell, Dtype, Implementation, Phase, Sizes


class Work:
    """A layer in training or evaluation and one sequence for it, (1, T, D) in float32.

    `bf16` runs it under autocast; parameters and input stay float32.
    """

    def __init__(self, implementation: Implementation, cell: Cell, dtype: Dtype = "float32") -> None:
        torch.manual_seed(0)
        self.layer = implementation.build(cell, Sizes())
        self.dtype = dtype
        self.x = torch.randn(1, cell.length, cell.setting.d_model)
        self.gradient = torch.randn(self.x.shape)

    def run(self, phase: Phase) -> None:
        """Run the phase once."""
        self.infer() if phase == "inference" else self.train()

    def infer(self) -> None:
        """Run forward in evaluation mode, without a graph."""
        self.layer.eval()
        with torch.no_grad(), self._precision():
            self.layer(self.x)

    def train(self) -> None:
        """Run forward and backward, to the parameters and to the input."""
        self.layer.train()
        self.layer.zero_grad(set_to_none=True)
        x = self.x.detach().requires_grad_()
        with self._precision():
            hidden = self.layer(x)
        hidden.backward(self.gradient.to(hidden.dtype))

    def _precision(self) -> AbstractContextManager[object]:
        return nullcontext() if self.dtype == "float32" else torch.autocast("cpu", dtype=torch.bfloat16)
