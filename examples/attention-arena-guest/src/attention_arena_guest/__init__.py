"""Cosine attention (Henry et al. 2020, Query-Key Normalization): softmax over cosines at a learned temperature."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from attention_arena.hooks import hookimpl
from attention_arena.layers import HeadAttention, Stack
from attention_arena.variant import Capability, Complexity, Options, Variant

PLUGIN_API = 1


class CosineOptions(Options):
    sharpness: float = Field(10.0, gt=0, description="initial factor of the cosines")


class CosineAttention(HeadAttention):
    def __init__(self, shape, options):
        super().__init__(shape)
        self.causal = shape.causal
        self.sharpness = nn.Parameter(torch.full((shape.n_heads, 1, 1), options.sharpness))

    def attend(self, query, key, value, context):
        query, key = functional.normalize(query, dim=-1), functional.normalize(key, dim=-1)
        scores = self.sharpness * (query @ key.transpose(-1, -2))  # (B, H, T, T)
        allowed = torch.ones_like(scores[:1, :1], dtype=torch.bool)
        if self.causal:
            allowed = allowed.tril()
        if context.valid is not None:
            allowed = allowed & context.valid[:, None, None, :]
        weights = scores.masked_fill(~allowed, -torch.inf).softmax(-1)
        # A query without any key gives zeros.
        return weights.masked_fill(~allowed.any(-1, keepdim=True), 0.0).to(value.dtype) @ value


COSINE = Variant(
    name="cosine",
    summary="Softmax over the cosines of queries and keys, at a learned temperature per head.",
    paper="Henry et al. 2020, Query-Key Normalization for Transformers",
    supports=frozenset({Capability.BIDIRECTIONAL, Capability.CAUSAL, Capability.PADDING}),
    options=CosineOptions,
    build=lambda options, shape: Stack(shape, lambda layer: CosineAttention(shape, options)),
    complexity=Complexity(time=2.0, memory=2.0, formula="n^2 d"),
)


@hookimpl
def register_variants():
    return [COSINE]
