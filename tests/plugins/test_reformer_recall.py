"""Reformer's diagnostics know even buckets from one, and what hashed attention reaches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from attention_arena.measure import Measurement, Subject
from attention_arena.variant import ModelShape
from attention_arena_variants.reformer import build
from attention_arena_variants.reformer.attention import ReformerAttention, attend_fully, unit_key
from attention_arena_variants.reformer.diagnostics import ENTROPY, LARGEST, MASS, TOP, LSHOptions, measure_lsh
from attention_arena_variants.reformer.options import ReformerOptions
from attention_arena_variants.reformer.recall import (
    Hashing,
    attended,
    bucket_sizes,
    full_logits,
    largest_over_mean,
    mass_on,
    relative_entropy,
    shuffled,
    top_on,
)
from tests.core.measures.diagnostics.probe_toys import LENGTH, Given, subject_over, tokens_of

H, E, T = 2, 4, 12

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


def hashing_of(query: Tensor, valid: Tensor | None = None, causal: bool = False, **options: Any) -> Hashing:
    """Return what one layer does with queries (1, H, n, E)."""
    shape = ModelShape(d_model=H * E, n_heads=H, max_length=query.shape[2], causal=causal)
    attention = ReformerAttention(shape, ReformerOptions(**({"bucket_size": 3} | options))).double()
    everywhere = torch.ones(1, query.shape[2], dtype=torch.bool)
    return Hashing(attention, query.double(), everywhere if valid is None else valid)


def subject_with(tokens: Tensor, valid: Tensor | None = None, causal: bool = False, **options: Any) -> Subject:
    shape = ModelShape(d_model=8, n_heads=2, n_layers=2, d_ff=16, max_length=LENGTH, causal=causal)
    torch.manual_seed(0)
    backbone = build(ReformerOptions(**({"bucket_size": 3} | options)), shape)
    return subject_over(Given(tokens, valid), causal=causal, backbone=backbone)


def measured(subject: Subject, **options: Any) -> dict[tuple[str, str, int | None, int | None], Measurement]:
    rows = measure_lsh(LSHOptions(**options), subject)
    return {(row.measure, row.phase, row.layer, row.position): row for row in rows}


class TestBalance:
    def test_equal_buckets_are_even(self) -> None:
        sizes = bucket_sizes(torch.arange(20) % 4, 4)
        assert sizes.tolist() == [5, 5, 5, 5]
        assert float(relative_entropy(sizes)) == pytest.approx(1.0)
        assert float(largest_over_mean(sizes)) == 1.0

    def test_one_bucket_for_all_is_not(self) -> None:
        sizes = bucket_sizes(torch.full((20,), 2), 4)
        assert float(relative_entropy(sizes)) == 0.0
        assert float(largest_over_mean(sizes)) == 4.0

    def test_half_the_buckets_have_half_the_entropy_of_their_square(self) -> None:
        sizes = bucket_sizes(torch.tensor([[0, 1] * 5, [3, 2] * 5]), 4)
        assert relative_entropy(sizes).tolist() == pytest.approx([0.5, 0.5])

    def test_equal_tokens_share_a_bucket(self) -> None:
        rows = measured(subject_with(torch.full((3, LENGTH), 5)), examples=3)
        # Learned positions tell them apart by a little, which moves few of them.
        assert (rows[LARGEST, "hashed", 0, None].value or 0) > 2 * (rows[LARGEST, "random", 0, None].value or 0)
        assert (rows[ENTROPY, "hashed", 0, None].value or 0) < (rows[ENTROPY, "random", 0, None].value or 0) / 2


class TestRecall:
    def test_one_chunk_reaches_everything(self) -> None:
        hashing = hashing_of(torch.randn(1, H, T, E), bucket_size=T)
        found = attended(hashing, hashing.buckets(1)[:, :1])
        assert found.all()
        assert float(mass_on(found, full_logits(hashing, 0))) == pytest.approx(1.0)
        assert float(top_on(found, full_logits(hashing, 0), 5)) == 1.0

    def test_in_one_bucket_a_query_reaches_its_chunk_and_the_one_before(self) -> None:
        """Equal queries lie in their order, 3 to a chunk, and full attention is uniform over the 11 others."""
        hashing = hashing_of(torch.ones(1, H, T, E))
        found = attended(hashing, hashing.buckets(1)[:, :1])
        expected = (3 * 2 + 9 * 5) / (T * 11)
        assert float(mass_on(found, full_logits(hashing, 0))) == pytest.approx(expected)

    def test_causal_queries_with_nothing_before_them_do_not_count(self) -> None:
        hashing = hashing_of(torch.ones(1, H, T, E), causal=True)
        found = attended(hashing, hashing.buckets(1)[:, :1])
        reached = [min(i, i % 3 + 3) / i for i in range(1, T)]
        assert float(mass_on(found, full_logits(hashing, 0))) == pytest.approx(sum(reached) / 11)

    def test_more_rounds_reach_more(self) -> None:
        hashing = hashing_of(torch.randn(1, H, 48, E))
        shares = [float(attended(hashing, hashing.buckets(n)[:, :1]).double().mean()) for n in (1, 4, 16)]
        assert shares == sorted(shares)
        assert shares[-1] > 2 * shares[0]

    def test_hashing_finds_clusters_that_shuffled_buckets_miss(self) -> None:
        centres = torch.eye(E).repeat(1, H, 1, 1)  # (1, H, E, E)
        query = 8 * centres.repeat(1, 1, 12, 1) + 0.1 * torch.randn(1, H, 48, E)
        hashing = hashing_of(query, n_buckets=8, bucket_size=12)
        buckets = hashing.buckets(1)
        generator = torch.Generator().manual_seed(0)
        mixed = shuffled(buckets, hashing.valid, generator)
        by_hash, by_chance = (
            float(mass_on(attended(hashing, ids[:, :1]), full_logits(hashing, 0))) for ids in (buckets, mixed)
        )
        assert by_hash > 0.8
        assert by_chance < 0.6

    def test_full_logits_are_those_of_full_attention(self) -> None:
        query, valid = torch.randn(1, H, T, E), torch.arange(T).unsqueeze(0) < 9
        hashing = hashing_of(query, valid, causal=True, scale="sqrt")
        allowed = torch.ones(T, T, dtype=torch.bool).tril() & valid
        key = unit_key(hashing.query) * hashing.attention.scale
        identity = torch.eye(T).double().expand(1, H, T, T)
        expected = attend_fully(hashing.query, key, identity, allowed, shared=True)[0]
        for head in range(H):
            found = full_logits(hashing, head).softmax(-1)
            assert found.shape == (9, T)
            torch.testing.assert_close(found[1:], expected[head, 1:9])

    def test_shuffling_keeps_sizes_and_padding(self) -> None:
        valid = torch.arange(T).unsqueeze(0) < 9
        buckets = hashing_of(torch.randn(1, H, T, E), valid).buckets(3)
        mixed = shuffled(buckets, valid, torch.Generator().manual_seed(0))
        assert not torch.equal(mixed, buckets)
        assert torch.equal(mixed[..., 9:], buckets[..., 9:])
        assert torch.equal(mixed.sort(-1).values, buckets.sort(-1).values)

    def test_a_query_with_fewer_keys_counts_with_those_it_has(self) -> None:
        logits = torch.tensor([[-torch.inf, 1.0, -torch.inf], [3.0, -torch.inf, 2.0], [-torch.inf] * 3])
        found = torch.tensor([[False, True, False], [True, True, False], [False, False, False]])
        assert float(top_on(found, logits, 2)) == pytest.approx((1.0 + 0.5) / 2)
        share = 1 / (1 + torch.tensor(-1.0).exp())
        assert float(mass_on(found, logits)) == pytest.approx((1.0 + float(share)) / 2)


class TestRows:
    def test_every_layer_has_balance_and_recall_beside_chance(self) -> None:
        rows = measured(subject_with(tokens_of(3, LENGTH)), examples=3, hashes=[1, 4])
        cells = [(ENTROPY, None), (LARGEST, None), (MASS, 1), (TOP, 1), (MASS, 4), (TOP, 4)]
        expected = {
            (name, phase, layer, rounds) for name, rounds in cells for phase in ("hashed", "random") for layer in (0, 1)
        }
        assert set(rows) == expected
        for row in rows.values():
            assert row.value is not None
            assert row.samples == 3
            assert row.status == "done"

    def test_the_models_own_rounds_are_those_of_its_evaluation(self) -> None:
        subject = subject_with(tokens_of(1, LENGTH), n_hashes=1, eval_hashes=2)
        attention = next(layer for layer in subject.trained.modules() if isinstance(layer, ReformerAttention))
        hashing = Hashing(attention, torch.randn(1, 2, LENGTH, 4).double(), torch.ones(1, LENGTH, dtype=torch.bool))
        assert hashing.buckets(2).shape == (1, 2, 2, LENGTH)
        measured(subject, examples=1)
        assert measured(subject, examples=1) == measured(subject, examples=1)

    def test_padding_changes_nothing_that_is_hashed(self) -> None:
        tokens = tokens_of(2, LENGTH)
        short = measured(subject_with(tokens[:, :8]), examples=2, hashes=[2])
        valid = torch.arange(LENGTH).expand(2, -1) < 8
        padded = measured(subject_with(tokens, valid), examples=2, hashes=[2])
        for key in [(ENTROPY, "hashed", 1, None), (MASS, "hashed", 1, 2), (TOP, "hashed", 1, 2)]:
            assert padded[key].value == pytest.approx(short[key].value)

    def test_full_attention_has_nothing_to_measure(self) -> None:
        [row] = measure_lsh(LSHOptions(), subject_with(tokens_of(1, LENGTH), attention="full"))
        assert (row.status, row.value) == ("unsupported", None)
        assert row.detail == "attention: full hashes nothing; set attention: lsh"
