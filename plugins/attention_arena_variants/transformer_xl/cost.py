"""What one layer costs by formula, for the report and the contract suite."""

from __future__ import annotations

import torch

from attention_arena.variant import LayerCost, ModelShape
from attention_arena_variants.transformer_xl.tiles import tile_size
from attention_arena_variants.transformer_xl.windows import Windows


def layer_cost(windows: Windows, shape: ModelShape, encoding: str, attention_dropout: float) -> LayerCost:
    """Return FLOPs and bytes kept for backward of one layer on the tokens of `windows`, in tiles as a CPU has them.

    - Projections: query and output n D^2 each, key and value 2 n D^2; those of W distances W D^2, with rel_xl.
    - Pairs: 2 D for each that a tile holds, P Q of them; D for each query and distance, P w of them, unless abs.
    - Kept: normalised input, query, key, value and heads, 5 n D; with abs, the input that positions are added to, n D;
      projected distances and, with rel_xl, sinusoids, W D each; with dropout, a byte for each pair.
    """
    n, D = windows.n_tokens, shape.d_model
    n_distances = 0 if encoding == "abs" else windows.furthest - windows.nearest + 2
    n_projected = n_distances if encoding == "rel_xl" else 0
    blocks = list(windows.blocks(tile_size(torch.empty(0, device="cpu")).n_queries))
    pairs = sum(block.n_segments * block.n_queries * block.n_keys for block in blocks)
    by_distance = sum(block.n_segments * block.n_queries * block.n_distances(windows.causal) for block in blocks)
    multiplied = (4 * n + n_projected) * D**2 + 2 * pairs * D + (by_distance * D if n_distances else 0)
    kept = (6 if encoding == "abs" else 5) * n + n_distances + n_projected
    drawn = shape.n_heads * pairs if attention_dropout else 0
    return LayerCost(flops=2.0 * multiplied, saved_bytes=4.0 * kept * D + drawn)


def paper_flops(windows: Windows, shape: ModelShape, encoding: str) -> float:
    """Return the FLOPs of a layer by the paper's count: each query sees the memory and the segment up to itself.

    Three products for each pair, two with abs; projections, and with rel_xl those of the distances. What a memory is
    projected to again in each segment is left out, because it need not be.
    """
    n, D = windows.n_tokens, shape.d_model
    segment = min(windows.segment_length, n)
    memory = min(windows.memory, n - segment)
    keys = memory + ((segment + 1) / 2 if windows.causal else segment)
    keys = min(keys, windows.span) if windows.span is not None else keys
    distances = memory + segment if encoding == "rel_xl" else 0
    return 8.0 * n * D**2 + 2.0 * distances * D**2 + (4.0 if encoding == "abs" else 6.0) * n * keys * D
