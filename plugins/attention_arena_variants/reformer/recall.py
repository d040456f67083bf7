"""How evenly hashing fills the buckets, and how much of full attention it finds, sequence by sequence.

Recall compares with full attention over the same shared queries and keys, in which a token attends to itself only where
it has nothing else.

Letters beside the usual ones: R hash rounds, n real tokens, b buckets.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from attention_arena_variants.reformer.attention import ReformerAttention, count_rounds, unit_key


class Hashing(NamedTuple):
    """One sequence as one layer hashes it, in float32 at least."""

    attention: ReformerAttention
    query: Tensor
    """(1, H, T, E)."""
    valid: Tensor
    """(1, T) bool; two real tokens at least."""

    def buckets(self, n_hashes: int) -> Tensor:
        """Return the bucket ids (1, H, R, T) that evaluation in so many rounds would assign."""
        seed = int(self.attention.evaluation_seed)
        return self.attention.buckets(self.query, self.valid, seed, n_hashes)

    def real_buckets(self, n_hashes: int) -> Tensor:
        """Return the bucket ids (1, H, R, n) of real tokens, from 0 to b - 1."""
        return self.buckets(n_hashes)[..., self.valid[0]].long()


def bucket_sizes(buckets: Tensor, n_buckets: int) -> Tensor:
    """Return how many tokens (..., b) each bucket of ids (..., n) holds, in float64."""
    sizes = torch.zeros(*buckets.shape[:-1], n_buckets, dtype=torch.float64, device=buckets.device)
    return sizes.scatter_add_(-1, buckets, torch.ones_like(buckets, dtype=torch.float64))


def relative_entropy(sizes: Tensor) -> Tensor:
    """Return the entropy of bucket sizes (..., b) over log b, (...): 1 where all are equal, 0 where one holds all."""
    shares = sizes / sizes.sum(-1, keepdim=True)
    entropy: Tensor = torch.special.entr(shares).sum(-1)
    return entropy / math.log(sizes.shape[-1])


def largest_over_mean(sizes: Tensor) -> Tensor:
    """Return the largest of bucket sizes (..., b) over their mean, (...): 1 where all are equal, b at most."""
    return sizes.amax(-1) / sizes.mean(-1)


def full_logits(hashing: Hashing, head: int) -> Tensor:
    """Return what full attention from real tokens takes the softmax of, (n, T), -inf at keys that have no weight.

    Those are padding, later tokens in causal models, and the query itself.
    """
    query = hashing.query[0, head]
    logits = query @ (unit_key(query) * hashing.attention.scale).mT
    allowed = hashing.valid[0].expand_as(logits)
    allowed = allowed.tril() if hashing.attention.causal else allowed
    itself = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    return logits.masked_fill(~allowed | itself, -torch.inf)[hashing.valid[0]]


def attended(hashing: Hashing, buckets: Tensor) -> Tensor:
    """Return whether real tokens attend to keys, (n, T) bool, in any round of one head's `buckets` (1, 1, R, T).

    One round at a time, because a round's comparisons are (T, T) integers.
    """
    options, causal = hashing.attention.options, hashing.attention.causal
    total = torch.zeros(buckets.shape[-1], buckets.shape[-1], dtype=torch.bool, device=buckets.device)
    for each in torch.split(buckets, 1, dim=2):
        total |= count_rounds(each, options, causal, hashing.valid)[0, 0] > 0
    return total[hashing.valid[0]]


def shuffled(buckets: Tensor, valid: Tensor, generator: torch.Generator) -> Tensor:
    """Return `buckets` (1, H, R, T) with the real tokens of each head and round permuted: sizes stay."""
    mixed, real = buckets.clone(), buckets[..., valid[0]]
    order = torch.rand(real.shape, generator=generator).argsort(-1).to(real.device)
    mixed[..., valid[0]] = real.gather(-1, order)
    return mixed


def mass_on(found: Tensor, logits: Tensor) -> Tensor:
    """Return the share of the softmax of `logits` (n, T) on keys `found` (n, T), the mean over queries with keys."""
    has_keys = logits.amax(-1) > -torch.inf
    return (logits[has_keys].softmax(-1) * found[has_keys]).sum(-1).mean()


def top_on(found: Tensor, logits: Tensor, k: int) -> Tensor:
    """Return the share of the `k` largest of `logits` (n, T) that are `found`, the mean over queries with keys.

    A query with fewer than `k` keys counts with those that it has.
    """
    has_keys = logits.amax(-1) > -torch.inf
    highest, keys = logits[has_keys].topk(min(k, logits.shape[-1]), dim=-1)
    real = highest > -torch.inf
    return ((found[has_keys].gather(-1, keys) & real).sum(-1) / real.sum(-1)).mean()
