"""Reformer's hashing: angles, rounds, factors and draws (R4, R5, R10)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from attention_arena.variant import Context, ModelShape
from attention_arena_variants.reformer import hashing
from attention_arena_variants.reformer.attention import ReformerAttention, attend_fully, unit_key
from attention_arena_variants.reformer.hashing import assign_buckets, centre, choose_factors, draw_rotations
from attention_arena_variants.reformer.layout import Rules, invert, lay_out, sort_by_bucket
from attention_arena_variants.reformer.options import ReformerOptions
from attention_arena_variants.reformer.windows import SortedRows, some_rows

H, E = 2, 6
D = H * E

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


def layer(causal: bool = False, shape: dict[str, Any] | None = None, **options: Any) -> ReformerAttention:
    size = {"d_model": D, "n_heads": H, "max_length": 16} | (shape or {})
    chosen = ReformerOptions(**({"bucket_size": 4} | options))
    return ReformerAttention(ModelShape(causal=causal, **size), chosen).double()


def heads_of(attention: ReformerAttention, x: Tensor) -> tuple[Tensor, Tensor]:
    """Query and value (B, H, T, E) by the layer's own weights."""
    query, value = attention.project_in(x).view(*x.shape[:2], 2, H, E).permute(2, 0, 3, 1, 4)
    return query, value


@pytest.mark.parametrize("factors", [(8,), (4, 6)])
def test_r4_hashing_ignores_length_and_mirrors_opposites(factors: tuple[int, ...]) -> None:
    x = torch.randn(1, 1, 200, 16)
    rotations = draw_rotations(3, 16, 2, factors)
    buckets = assign_buckets(x, rotations, factors)
    assert torch.equal(assign_buckets(7.5 * x, rotations, factors), buckets)
    opposite = assign_buckets(-x, rotations, factors)
    first = factors[0]
    assert torch.equal(opposite % first, (buckets % first + first // 2) % first)
    for second in factors[1:]:
        assert torch.equal(opposite // first, (buckets // first + second // 2) % second)


def test_r4_collisions_get_rarer_with_the_angle() -> None:
    pairs, n_bins, factors = 10_000, 10, (16,)
    angles = (torch.arange(n_bins) + 0.5) / n_bins * torch.pi
    x, other = torch.randn(2, n_bins, pairs // n_bins, 16)
    x = x / x.norm(dim=-1, keepdim=True)
    across = other - (other * x).sum(-1, keepdim=True) * x
    across = across / across.norm(dim=-1, keepdim=True)
    y = angles.cos()[:, None, None] * x + angles.sin()[:, None, None] * across
    rotations = draw_rotations(1, 16, 8, factors)
    same = assign_buckets(x[None], rotations, factors) == assign_buckets(y[None], rotations, factors)
    rates = same.float().mean((0, 2, 3)).tolist()
    # The last bins are all but empty of collisions, hence not strictly falling there.
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 0.6
    assert rates[-1] < 0.001


@pytest.mark.parametrize("n_buckets", [2, 8, 32])
def test_r4_isotropic_queries_fill_buckets_evenly(n_buckets: int) -> None:
    x = torch.randn(1, 1, 8192, 64)
    buckets = assign_buckets(x, draw_rotations(0, 64, 1, (n_buckets,)), (n_buckets,))
    load = buckets.flatten().bincount(minlength=n_buckets)
    assert load.max() / load.float().mean() <= 2


def test_r5_more_rounds_find_more_of_the_best_keys_and_err_less() -> None:
    T, m, rounds, seeds = 128, 8, (1, 2, 4, 8), 20
    recall = torch.zeros(len(rounds), dtype=torch.float64)
    error = torch.zeros_like(recall)
    for seed in range(seeds):
        torch.manual_seed(seed)
        x = 2 * torch.randn(1, T, D, dtype=torch.float64)
        attention = layer(shape={"max_length": T}, bucket_size=m)
        query, value = heads_of(attention, x)
        logits = query @ unit_key(query).mT
        best = logits.masked_fill(torch.eye(T, dtype=torch.bool), -torch.inf).argmax(-1)  # (1, H, T)
        heads = attend_fully(query, unit_key(query), value, torch.ones(T, T), shared=True)
        dense = attention.project_out(heads.transpose(1, 2).flatten(2))
        rotations = draw_rotations(seed, E, max(rounds), attention.factors)
        buckets = assign_buckets(query, rotations, attention.factors)
        for place, n_hashes in enumerate(rounds):
            output = attention(x, Context(replay=buckets[:, :, :n_hashes])).hidden
            error[place] += (output - dense).detach().pow(2).mean() / seeds
            chunk = invert(sort_by_bucket(buckets[:, :, :n_hashes])) // m  # (1, H, R, T)
            back = chunk - chunk.gather(-1, best[:, :, None].expand_as(chunk))
            recall[place] += ((back == 0) | (back == 1)).any(2).double().mean() / seeds
    assert (recall.diff() >= 0).all()
    assert (error.diff() < 0).all()


def test_r10_sorting_and_unsorting_is_the_identity_for_each_round() -> None:
    """And tokens lie by bucket, then by position; heads in groups of 2, 1, 2 and 1."""
    B, T, n_heads = 2, 9, 3
    buckets = torch.randint(4, (B, n_heads, 3, T))
    order = sort_by_bucket(buckets)
    assert (buckets.gather(-1, order) * T + order).diff(dim=-1).gt(0).all()
    assert torch.equal(order.gather(-1, invert(order)), torch.arange(T).expand_as(order))
    rules = Rules(chunk=4)
    layout = lay_out(buckets, 4, None, rules)
    parts = torch.randn(B, T, 2, n_heads, E)
    for rows in some_rows(B, n_heads, 2 * T, rules, torch.device("cpu")):
        for r in range(3):
            run = SortedRows(layout, rules, rows, r)
            for part in range(2):
                expected = rows.by_token(parts[:, :, part]).flatten(0, 1)
                found = run.gather(parts, part, torch.empty(run.places.numel(), E))
                assert torch.equal(run.unsort(found), expected)
                places = layout.order[rows.batch, rows.heads, r].flatten(0, 1).long()
                in_order = found.view(len(expected), -1, E)[:, :T]
                assert torch.equal(in_order, expected.gather(1, places.unsqueeze(-1).expand(-1, -1, E)))


def test_r10_a_token_alone_in_its_bucket_keeps_its_value_and_its_gradient() -> None:
    """Through sort, chunks and unsort, forward and backward, for each round: attention is the identity there."""
    T = 11
    attention = layer(within_bucket=True, n_hashes=1, n_buckets=12)
    x = torch.randn(2, T, D, dtype=torch.float64, requires_grad=True)
    for _ in range(3):
        replay = torch.rand(2, H, 1, T).argsort(-1).to(torch.uint8)
        found = attention(x, Context(replay=replay)).hidden
        expected = attention.project_out(attention.project_in(x)[..., D:])
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
        weights = torch.randn_like(found)
        gradients = (torch.autograd.grad((y * weights).sum(), x)[0] for y in (found, expected))
        torch.testing.assert_close(*gradients, atol=1e-12, rtol=0)


@pytest.mark.parametrize("at_once", [1, 100, 10**9])
def test_hashing_some_tokens_at_a_time_changes_nothing(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    x, factors = torch.randn(2, 3, 40, 8, dtype=torch.float64), (4, 6)
    rotations = draw_rotations(0, 8, 3, factors)
    rotated = torch.einsum("bhte,era->bhrta", x, rotations.double())
    of_factors = rotated[..., :2], rotated[..., 2:]
    first, second = (torch.cat([part, -part], dim=-1).argmax(-1) for part in of_factors)
    monkeypatch.setitem(hashing.AXES_AT_ONCE, "cpu", at_once)
    assert torch.equal(assign_buckets(x, rotations, factors), first + 4 * second)


@pytest.mark.parametrize("causal", [False, True])
def test_centring_subtracts_the_mean_of_real_tokens_up_to_each_position(causal: bool) -> None:
    query, valid = torch.randn(2, H, 7, E), torch.ones(2, 7, dtype=torch.bool)
    valid[1, 4:] = False
    found = centre(query, valid, causal)
    for b, t in ((0, 0), (0, 5), (1, 2), (1, 3)):
        seen = query[b, :, : t + 1] if causal else query[b, :, : valid[b].sum()]
        torch.testing.assert_close(found[b, :, t], query[b, :, t] - seen.mean(1))


def test_centring_spreads_queries_that_share_a_component() -> None:
    loads = {}
    for centred in (False, True):
        torch.manual_seed(4)
        shape = {"d_model": 64, "max_length": 512}
        attention = layer(shape=shape, bucket_size=32, centred_hashing=centred).float().eval()
        query = torch.randn(1, H, 512, 32) + 5 * torch.randn(32)
        buckets = attention.hash(query, Context())
        loads[centred] = max(row.bincount().max().item() for row in buckets.long().flatten(0, 2))
    assert loads[True] < 512 / 32 * 3 < loads[False]


@pytest.mark.parametrize(
    ("n_buckets", "max_length", "factors"),
    [
        (None, 10, (2,)),
        (None, 65, (4,)),
        (None, 4096, (128,)),
        (None, 4097, (12, 12)),
        (6, 10, (6,)),
        (128, 10, (128,)),
        (256, 10, (16, 16)),
        (132, 10, (6, 22)),
    ],
)
def test_many_buckets_factorise_into_even_factors(
    n_buckets: int | None, max_length: int, factors: tuple[int, ...]
) -> None:
    assert choose_factors(n_buckets, max_length, 64) == factors


def test_factorised_hashing_combines_the_hashes_of_its_factors() -> None:
    factors = (16, 18)
    rotations = draw_rotations(2, 8, 3, factors)
    x = torch.randn(2, 2, 400, 8)
    first, second = (
        assign_buckets(x, part, (b,)) for part, b in zip(torch.split(rotations, [8, 9], dim=-1), factors, strict=True)
    )
    buckets = assign_buckets(x, rotations, factors)
    assert torch.equal(buckets, first + 16 * second)
    assert buckets.max() < 16 * 18
    assert len(buckets.flatten().bincount().nonzero()) > 128


def test_evaluation_repeats_itself_and_training_draws_anew() -> None:
    attention = layer(n_hashes=1)
    x = torch.randn(2, 13, D, dtype=torch.float64)
    assert not torch.equal(attention(x, Context()).replay, attention(x, Context()).replay)
    attention.eval()
    before = torch.get_rng_state()
    first, second = attention(x, Context()), attention(x, Context())
    assert torch.equal(first.hidden, second.hidden)
    assert torch.equal(torch.get_rng_state(), before)


def test_training_draws_one_number_whether_or_not_buckets_are_given() -> None:
    attention = layer(n_hashes=2)
    x = torch.randn(2, 13, D, dtype=torch.float64)
    states = []
    for replay in (None, attention(x, Context()).replay):
        torch.manual_seed(3)
        attention(x, Context(replay=replay))
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_replayed_buckets_are_used_and_handed_on() -> None:
    attention = layer(n_hashes=2)
    x = torch.randn(2, 13, D, dtype=torch.float64)
    first = attention(x, Context())
    again = attention(x, Context(replay=first.replay))
    assert again.replay is first.replay
    assert torch.equal(again.hidden, first.hidden)


def test_rounds_in_evaluation_may_differ_from_training() -> None:
    attention = layer(n_hashes=1, eval_hashes=4)
    x = torch.randn(2, 13, D, dtype=torch.float64)
    assert attention.train()(x, Context()).replay.shape == (2, H, 1, 13)
    assert attention.eval()(x, Context()).replay.shape == (2, H, 4, 13)
