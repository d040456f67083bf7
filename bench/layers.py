"""Our own layers, through the public door."""

from __future__ import annotations

from functools import partial

from torch import nn

from attention_arena import build_attention
from bench.cases import IDEAS, Cell, Idea, Implementation, Sizes


def build_ours(idea: Idea, cell: Cell, sizes: Sizes) -> nn.Module:
    """Return our layer; raises ConfigError where no such variant is installed, ValueError where options do not fit."""
    return build_attention(
        idea.variant,
        d_model=cell.setting.d_model,
        n_heads=cell.setting.n_heads,
        max_length=cell.length,
        causal=cell.causal,
        **idea.options(sizes),
    )


OURS = tuple(Implementation(idea.name, idea, partial(build_ours, idea), idea.directions) for idea in IDEAS)
