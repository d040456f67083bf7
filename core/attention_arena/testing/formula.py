"""Check of the cost that a variant states by formula: FLOPs and bytes kept for backward, counted."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attention_arena.layers import Attention, AttentionOutput, Stack
from attention_arena.measures.compute.flops import count_flops
from attention_arena.measures.memory.counting import saved_for_backward
from attention_arena.testing.trial import Trial, inputs, trials
from attention_arena.testing.verdict import NotApplicable, require
from attention_arena.variant import Backbone, Context, LayerCost, Options, Variant

LENGTHS = (256, 1024)
SIZES: dict[str, Any] = {"d_model": 64, "d_ff": 1, "n_layers": 1, "positions": "none", "residual": "plain"}
"""One layer, without the recomputation that the formula leaves out."""
TOLERANCE = 0.15
"""Allowed relative difference of a count and its formula."""


def check_formula(variant: Variant, options: Options) -> None:
    """One layer's FLOPs forward and bytes kept for backward are those of `variant.cost`, at two lengths.

    Counted as what a stack of one block has more than the same stack with an attention that does nothing.
    """
    if variant.cost is None:
        raise NotApplicable(f"{variant.name} states no cost by formula")
    for length in LENGTHS:
        for trial in trials(variant, options, **SIZES, max_length=length):
            expected = variant.cost(options, trial.shape, length)
            found = count_layer(trial, length)
            for name, counted, stated in zip(LayerCost._fields, found, expected, strict=True):
                require(
                    abs(counted - stated) <= TOLERANCE * counted,
                    f"{trial}, {length} tokens: {name} {counted:,.0f} counted, {stated:,.0f} by formula",
                )


class _Idle(Attention):
    """Returns its input."""

    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        return AttentionOutput(x)


def count_layer(trial: Trial, length: int) -> LayerCost:
    """Return what the attention of a trial's one block costs on `length` tokens."""
    idle = Stack(trial.shape, lambda layer: _Idle())
    counts = [_cost(backbone.train(), length) for backbone in (trial.backbone(dtype=torch.float32), idle)]
    return LayerCost(*(whole - rest for whole, rest in zip(*counts, strict=True)))


def _cost(backbone: Backbone, length: int) -> LayerCost:
    x = inputs(1, length, dtype=torch.float32, width=SIZES["d_model"]).requires_grad_()
    torch.manual_seed(2)
    flops = count_flops(lambda: backbone(x))
    saved = saved_for_backward(lambda: backbone(x), [x, *backbone.parameters(), *backbone.buffers()])
    return LayerCost(flops, saved)
