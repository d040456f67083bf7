"""FLOPs of a model's layers by formula."""

from __future__ import annotations

from attention_arena.measure import Subject
from attention_arena.model import model_shape


def flops_by_formula(subject: Subject, length: int) -> float | None:
    """Return the FLOPs of all layers in a forward pass over one sequence (or pair) of `length` tokens, 2 a product.

    None where the variant states no cost. Every layer counts what the variant states of its attention, projections
    included (`Variant.cost`), and the two products of the feed-forward layer, 4 n d d_ff. A CLS token counts as one
    more. The embedding is a table and costs no product. Heads and embeddings that have products state no formula, so
    those of a head must be counted, and an adaptive embedding's are left out.
    """
    contender = subject.contender
    if contender.variant.cost is None:
        return None
    shape = model_shape(contender.settings, length, subject.data.objective)
    n_tokens = shape.max_length
    attention = contender.variant.cost(contender.options, shape, n_tokens).flops
    feed_forward = 4 * n_tokens * shape.d_model * shape.d_ff
    n_sequences = subject.synthetic_batch(1, length).tokens.numel() / length
    return n_sequences * shape.n_layers * (attention + feed_forward)
