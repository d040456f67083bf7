"""Positions as a sum of learned vectors, one for each coordinate of a token (Child et al. 2019, section 5.3).

Coordinates are those of the data (row, column, channel), or of the attention: the block and the place in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from attention_arena.layers import Attention, Stack
from attention_arena.layers.inputs import require_input, require_step
from attention_arena.variant import BackboneOutput, Context, ModelShape


class SummedPositions(nn.Module):
    """Adds a learned vector for each coordinate of a position in a grid of `sizes`, whose last coordinate runs fastest.

    The first `n_before` positions, which stand before the data, receive nothing. The sum starts at the deviation of
    the shared learned positions.
    """

    def __init__(self, sizes: Sequence[int], width: int, n_before: int = 0) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        self.n_before = n_before
        self.tables = nn.ParameterList([nn.Parameter(torch.empty(size, width)) for size in sizes])
        for table in self.tables:
            nn.init.normal_(table, std=0.02 * len(self.sizes) ** -0.5)

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        """Add positions `offset` and on to `x` (B, T, D); raises ValueError beyond the grid."""
        stop, n_places = offset + x.shape[1], self.n_before + math.prod(self.sizes)
        if stop > n_places:
            raise ValueError(
                f"summed positions reach {n_places} tokens, got {stop}; build the model for longer sequences"
            )
        rest = torch.arange(offset, stop, device=x.device) - self.n_before
        is_data = rest >= 0
        added = torch.zeros((), dtype=x.dtype, device=x.device)
        for size, table in zip(reversed(self.sizes), reversed(list(self.tables)), strict=True):
            added = added + table[rest % size]  # (T, D)
            rest = rest.div(size, rounding_mode="floor")
        return x + added * is_data[:, None] if self.n_before else x + added


def attention_grid(shape: ModelShape, stride: int) -> SummedPositions:
    """Return positions by block (i div l) and by place in the block (i mod l)."""
    return SummedPositions((math.ceil(shape.max_length / stride), stride), shape.d_model)


def data_grid(shape: ModelShape, sizes: Sequence[int]) -> SummedPositions:
    """Return positions by coordinates of the data, with nothing for a CLS token before it.

    Raises ValueError unless the grid holds the sequence.
    """
    n_cells = math.prod(sizes)
    n_before = int(shape.pooling == "cls" and shape.max_length == n_cells + 1)
    if shape.max_length > n_cells + n_before:
        grid = " x ".join(map(str, sizes))
        raise ValueError(
            f"data_sizes must hold max_length ({shape.max_length}) positions, got {grid} = {n_cells}; make one of the"
            " sizes larger, or choose positions: attention or shared"
        )
    return SummedPositions(sizes, shape.d_model, n_before)


class PositionedStack(Stack):
    """A stack that adds positions of its own to its input, where it has any."""

    def __init__(
        self, shape: ModelShape, attention: Callable[[int], Attention], positions: SummedPositions | None
    ) -> None:
        super().__init__(shape, attention)
        self.positions = positions

    def forward(self, x: Tensor, context: Context = Context()) -> BackboneOutput:  # noqa: B008 - an immutable tuple
        """Encode `x` (B, T, D)."""
        require_input(x, context, self.shape, self, max_length=self.shape.max_length)
        return super().forward(self._place(x, 0), context)

    def step(self, x: Tensor, context: Context = Context()) -> BackboneOutput:  # noqa: B008 - an immutable tuple
        """Encode the next token `x` (B, 1, D)."""
        require_input(x, context, self.shape, self, max_length=1)
        position, n_rows = (0, None) if context.state is None else context.state[0][:2]
        require_step(x, position, n_rows, max_length=self.shape.max_length)
        return super().step(self._place(x, position), context)

    def _place(self, x: Tensor, offset: int) -> Tensor:
        return x if self.positions is None else self.positions(x, offset)
