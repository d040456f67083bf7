"""What a layer of Reformer costs, by formula.

Letters beside the usual ones: R hash rounds; m tokens in a chunk; L tokens rounded up to whole chunks; W keys in a
window.
"""

from __future__ import annotations

from attention_arena.variant import LayerCost, ModelShape
from attention_arena_variants.reformer.cut import Cut
from attention_arena_variants.reformer.hashing import choose_factors
from attention_arena_variants.reformer.layout import is_coded, smallest_code
from attention_arena_variants.reformer.options import ReformerOptions

FLOAT = 4
"""Bytes."""


def layer_cost(options: ReformerOptions, shape: ModelShape, length: int) -> LayerCost:
    """Return the cost of a layer on `length` tokens, none of them padding, the same in both directions.

    Hashing multiplies every query with sum(factors) / 2 axes a round, which is n^1.5 where two factors make the
    buckets; attention then has R L W pairs a head. Backward needs the input, query, value and heads, n d numbers each,
    and only integers for each round. Where one chunk holds the sequence, all pairs are computed and kept.
    """
    T, D, H, E = length, shape.d_model, shape.n_heads, shape.d_head
    n_parts = 2 if options.shared_qk else 3
    flops = 2 * T * D * (n_parts + 1) * D
    kept = FLOAT * T * D * (n_parts + 2)  # input, what it is projected to, and heads
    if shape.positions == "rotary":
        kept += FLOAT * (n_parts - 1) * T * E  # sines and cosines
    if options.attention == "lsh":
        axes = sum(choose_factors(options.n_buckets, shape.max_length, options.bucket_size)) // 2
        flops += 2 * H * T * E * options.n_hashes * axes
    if options.everywhere(T):
        return LayerCost(flops + 4 * T**2 * D, kept + _kept_everywhere(options, shape, T))
    cut = Cut.of(T, min(options.bucket_size, T))
    flops += 4 * H * E * options.n_hashes * cut.length * cut.width
    return LayerCost(flops, kept + FLOAT * H * T + _kept_of_rounds(options, shape, T, cut))


def _kept_everywhere(options: ReformerOptions, shape: ModelShape, T: int) -> int:
    """Return the bytes of the keys, and of the probabilities of all pairs with what made them."""
    numbers = T * shape.d_model + (3 if options.attention_dropout else 2) * shape.n_heads * T**2
    flags = T**2 + T  # pairs that count, and queries without any
    if options.shared_qk:
        numbers += 2 * shape.n_heads * T  # lengths of queries
        flags += T**2  # tokens themselves
    return FLOAT * numbers + flags


def _kept_of_rounds(options: ReformerOptions, shape: ModelShape, T: int, cut: Cut) -> int:
    """Return the bytes of the rounds' orders, codes, and flags of what dropout keeps."""
    factors = choose_factors(options.n_buckets, shape.max_length, options.bucket_size)
    first, second = (*factors, 1)[:2]
    rules = options.rules(shape.causal, T)
    n_integers = T * (2 if is_coded(rules, options.n_hashes) else 1)
    flags = cut.chunk * cut.width if options.attention_dropout else 0
    size = smallest_code(T, first * second, rules).itemsize
    return options.n_hashes * shape.n_heads * (size * n_integers + flags)


def paper_flops(options: ReformerOptions, shape: ModelShape, length: int) -> float:
    """Return the FLOPs of a layer by the paper's count: R 2 m keys for each query, hashing, and projections.

    Buckets are hashed in factors, as the authors' code does; all pairs count where attention is full.
    """
    n, D, R = length, shape.d_model, options.n_hashes
    projections = 2.0 * (3 if options.shared_qk else 4) * n * D**2
    if options.attention == "full":
        return projections + 4.0 * D * n**2
    axes = sum(choose_factors(options.n_buckets, shape.max_length, options.bucket_size)) / 2
    return projections + 2.0 * n * D * R * axes + 4.0 * D * R * n * min(2 * options.bucket_size, n)
