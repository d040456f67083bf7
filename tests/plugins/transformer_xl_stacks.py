"""Transformer-XL stacks, texts and readings that its test files share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from attention_arena.layers.block import Block
from attention_arena.variant import Context, ModelShape
from attention_arena_variants.transformer_xl import TransformerXLOptions, build
from attention_arena_variants.transformer_xl.attention import MemoryAttention
from attention_arena_variants.transformer_xl.segments import SegmentStack

D_MODEL = 8
EXACT = 1e-10


def backbone(causal: bool = True, shape: dict[str, Any] | None = None, **options: Any) -> SegmentStack:
    """A float64 stack in evaluation mode whose attention is far from uniform, unlike a fresh one."""
    torch.manual_seed(0)
    fields = {"d_model": D_MODEL, "n_heads": 2, "n_layers": 2, "d_ff": 12, "max_length": 24, "causal": causal}
    built = build(TransformerXLOptions(**options), ModelShape(**(fields | (shape or {}))))
    assert isinstance(built, SegmentStack)
    for block in built.blocks:
        assert isinstance(block, Block)
        for parameter in block.attention.parameters():
            nn.init.normal_(parameter, std=0.5)
    return built.double().eval()


def attention_of(stack: SegmentStack, layer: int = 0) -> MemoryAttention:
    block = stack.blocks[layer]
    assert isinstance(block, Block)
    assert isinstance(block.attention, MemoryAttention)
    return block.attention


def text(B: int, T: int, seed: int = 1) -> Tensor:
    return torch.randn(B, T, D_MODEL, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def read(stack: SegmentStack, x: Tensor, *lengths: int) -> Tensor:
    """Encode `x` (B, T, D) in segments of the given lengths, with the state handed on."""
    hidden, state = [], None
    for segment in torch.split(x, list(lengths), dim=1):
        output = stack(segment, Context(state=state))
        hidden.append(output.hidden)
        state = output.state
    return torch.cat(hidden, dim=1)


def difference(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()
