"""What a layer of softmax attention costs, by formula.

Letters: n tokens, d_model d, h heads.
"""

from __future__ import annotations

from attention_arena.variant import LayerCost, ModelShape

FLOAT_BYTES = 4


def layer_cost(shape: ModelShape, length: int, *, holds_matrix: bool, dropout: bool) -> LayerCost:
    """Return the cost of one layer on `length` tokens at batch size 1, the same in both directions.

    Projections are 4 n d^2 multiply-adds, scores and weighted values n^2 d each. Backward needs the input, query, key,
    value and heads, n d numbers each; of the fused form also the log mass of each query, h n. Where the form
    `holds_matrix`, probabilities are kept once out of softmax and once as they weigh values, h n^2 each, and which
    pairs count, n^2 bytes. With `dropout` of probabilities the kept share of them is another h n^2, also in the fused
    form: PyTorch's kernel for CPUs has no dropout, and what serves instead keeps scaled copies of query and key too.
    What rotary positions keep is left out.
    """
    n, d, h = length, shape.d_model, shape.n_heads
    flops = 2 * (4 * n * d**2 + 2 * n**2 * d)
    numbers = 5 * n * d
    if holds_matrix:
        numbers += (3 if dropout else 2) * h * n**2 + n**2 // FLOAT_BYTES
    elif dropout:
        numbers += 3 * h * n**2 + 2 * n * d
    else:
        numbers += h * n
    return LayerCost(flops, FLOAT_BYTES * numbers)


def paper_flops(shape: ModelShape, length: int) -> float:
    """Return the FLOPs of a layer by the paper's count: n^2 pairs, causal n (n + 1) / 2, and projections."""
    n, d = length, shape.d_model
    pairs = n * (n + 1) / 2 if shape.causal else n**2
    return 8.0 * n * d**2 + 4.0 * d * pairs
