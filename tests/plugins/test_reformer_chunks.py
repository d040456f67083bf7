"""Reformer's chunked form against the plain form: all rules at once, dropout, and how the work is cut up."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from attention_arena.variant import Context, ModelShape
from attention_arena_variants.reformer import windows
from attention_arena_variants.reformer.attention import ReformerAttention, attend_fully, count_rounds, unit_key
from attention_arena_variants.reformer.chunks import attend_in_chunks
from attention_arena_variants.reformer.layout import Rules, invert, lay_out, smallest_code, sort_by_bucket
from attention_arena_variants.reformer.options import ReformerOptions

E = 6
N_BUCKETS = 6

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")

RULES: list[dict[str, Any]] = [
    {},
    {"n_hashes": 3},
    {"n_hashes": 3, "duplicate_correction": False},
    {"n_hashes": 2, "within_bucket": True},
    {"n_hashes": 3, "wrap": True},
    {"n_hashes": 2, "strict_causal": True},
]


def padded(B: int, T: int) -> Tensor:
    """The last row half padding, the one before it without a token."""
    valid = torch.ones(B, T, dtype=torch.bool)
    valid[-1, (T + 1) // 2 :] = False
    valid[-2] = False
    return valid


def plain(parts: Tensor, buckets: Tensor, options: ReformerOptions, causal: bool, valid: Tensor | None) -> Tensor:
    query, value = parts.permute(2, 0, 3, 1, 4)  # (B, H, T, E) each
    times = count_rounds(buckets, options, causal, valid)
    return attend_fully(query, unit_key(query), value, times, shared=True).transpose(1, 2)


def assert_same_function(found: Tensor, expected: Tensor, parts: Tensor) -> None:
    """Values and gradients within 1e-10 in float64."""
    weights = torch.randn_like(found)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
    gradients = (torch.autograd.grad((y * weights).sum(), parts)[0] for y in (found, expected))
    torch.testing.assert_close(*gradients, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("rows", ["all", "some heads", "some sequences"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("chosen", RULES, ids=str)
def test_the_chunked_form_is_the_plain_form(
    monkeypatch: pytest.MonkeyPatch, chosen: dict[str, Any], causal: bool, rows: str
) -> None:
    """With padding and without, at lengths that fill the last chunk and that do not, few chunks at a time."""
    options = ReformerOptions(bucket_size=4, **chosen)
    for T, with_padding in itertools.product((9, 28, 31), (False, True)):
        monkeypatch.setitem(windows.TOKENS_AT_ONCE, "cpu", {"all": 10**6, "some heads": 2 * T}.get(rows, 7 * T))
        monkeypatch.setitem(windows.SCORES_AT_ONCE, "cpu", 3 * 4 * 8)
        parts = torch.randn(3, T, 2, 3, E, dtype=torch.float64, requires_grad=True)
        buckets = torch.randint(N_BUCKETS, (3, 3, options.n_hashes, T))
        valid = padded(3, T) if with_padding else None
        if valid is not None:
            buckets = buckets.masked_fill(~valid[:, None, None], N_BUCKETS)
        rules = options.rules(causal, T)
        layout = lay_out(buckets, N_BUCKETS, valid, rules, ranked=options.strict_causal)
        found = attend_in_chunks(parts, layout, rules)
        assert_same_function(found, plain(parts, buckets, options, causal, valid), parts)


@pytest.mark.parametrize("n_hashes", [1, 3])
@pytest.mark.parametrize("causal", [False, True])
def test_r1_one_chunk_of_the_chunked_form_is_dense_shared_qk_softmax(causal: bool, n_hashes: int) -> None:
    parts = torch.randn(2, 7, 2, 3, E, dtype=torch.float64, requires_grad=True)
    query, value = parts.permute(2, 0, 3, 1, 4)
    rules = Rules(chunk=7, causal=causal)
    layout = lay_out(torch.randint(4, (2, 3, n_hashes, 7)), 4, None, rules)
    pairs = torch.ones(7, 7).tril() if causal else torch.ones(7, 7)
    expected = attend_fully(query, unit_key(query), value, pairs, shared=True).transpose(1, 2)
    assert_same_function(attend_in_chunks(parts, layout, rules), expected, parts)


@pytest.mark.parametrize(("n_buckets", "dtype"), [(100, torch.int16), (2**15, torch.int32)])
def test_many_buckets_take_wider_integers(n_buckets: int, dtype: torch.dtype) -> None:
    options = ReformerOptions(bucket_size=4, n_hashes=2, within_bucket=True)
    parts = torch.randn(1, 21, 2, 2, E, dtype=torch.float64, requires_grad=True)
    buckets = torch.tensor([0, n_buckets // 2, n_buckets - 1])[torch.randint(3, (1, 2, 2, 21))]
    rules = options.rules(causal=False, length=21)
    layout = lay_out(buckets, n_buckets, None, rules)
    assert layout.order.dtype == dtype
    assert_same_function(attend_in_chunks(parts, layout, rules), plain(parts, buckets, options, False, None), parts)


def test_long_sequences_take_wider_integers() -> None:
    assert smallest_code(2**14, 512, Rules(chunk=64)) == torch.int16
    assert smallest_code(2**15, 2, Rules(chunk=64)) == torch.int32


def test_dropped_probabilities_are_those_of_the_first_round_that_proposes_a_pair() -> None:
    """Kept ones grow by 1 / (1 - p); which are kept is the same in every chunk of a head and round."""
    T, m, R, p = 19, 4, 2, 0.3
    options = ReformerOptions(bucket_size=m, n_hashes=R)
    rules = options.rules(causal=True, length=T, dropout=p)
    parts = torch.randn(1, T, 2, 2, E, dtype=torch.float64, requires_grad=True)
    query, value = parts.permute(2, 0, 3, 1, 4)
    buckets = torch.randint(4, (1, 2, R, T))
    kept = torch.rand(1, 2, R, m, 2 * m) > p
    place = invert(sort_by_bucket(buckets))
    times = count_rounds(buckets, options, True, None)
    identity = torch.eye(T, dtype=torch.float64).expand(1, 2, T, T)
    probabilities = attend_fully(query, unit_key(query), identity, times, shared=True)
    factor = torch.zeros(1, 2, T, T, dtype=torch.float64)
    for h, i, j in itertools.product(range(2), range(T), range(T)):
        places = [(int(place[0, h, r, i]), int(place[0, h, r, j])) for r in range(R)]
        first = next((r for r, (s, t) in enumerate(places) if s // m - t // m in (0, 1)), None)
        if first is not None:
            s, t = places[first]
            factor[0, h, i, j] = float(kept[0, h, first, s % m, t - (s // m - 1) * m]) / (1 - p)
    expected = ((probabilities * factor) @ value).transpose(1, 2)
    layout = lay_out(buckets, 4, None, rules, kept=kept)
    assert_same_function(attend_in_chunks(parts, layout, rules), expected, parts)


@pytest.mark.parametrize("scale", [1.0, 0.4])
def test_gradients_are_numerically_right_with_dropped_probabilities(scale: float) -> None:
    rules = Rules(chunk=3, causal=True, scale=scale, dropout=0.3)
    kept = torch.rand(2, 1, 2, 3, 6) > 0.3
    layout = lay_out(torch.randint(4, (2, 1, 2, 8)), 4, padded(2, 8), rules, kept=kept)
    parts = torch.randn(2, 8, 2, 1, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: attend_in_chunks(x, layout, rules), parts)


def test_a_query_too_short_for_a_unit_key_has_the_gradient_of_the_plain_form() -> None:
    """Below 1e-6 the key is the query times 1e6; within 1e-10 of values near 1, and of gradients near 1e6."""
    options = ReformerOptions(bucket_size=4)
    parts = torch.randn(1, 9, 2, 1, E, dtype=torch.float64)
    parts[0, ::2, 0] *= 1e-8
    parts[0, 4, 0] = 0.0
    parts.requires_grad_()
    rules, buckets = options.rules(causal=False, length=9), torch.randint(4, (1, 1, 1, 9))
    found = attend_in_chunks(parts, lay_out(buckets, 4, None, rules), rules)
    assert_same_function(found, plain(parts, buckets, options, False, None), parts)


def test_the_logit_of_a_token_with_itself_has_no_gradient() -> None:
    """Queries so long that another key's logit is near -1e5 too, and both keys have weight."""
    query = torch.tensor([[1e5, 2.0, 0.5], [-1.0, 0.3, 1e-5]], dtype=torch.float64)
    # Along its own direction the second query changes no logit of the first one.
    unit = query / query.norm(dim=-1, keepdim=True)
    query[0] -= (1e5 + query[0] @ unit[1]) * unit[1]
    parts = torch.stack([query, torch.randn(2, 3, dtype=torch.float64)], dim=1).view(1, 2, 2, 1, 3).requires_grad_()
    rules, options = Rules(chunk=2), ReformerOptions(bucket_size=2)
    buckets = torch.zeros(1, 1, 1, 2, dtype=torch.int64)
    found = attend_in_chunks(parts, lay_out(buckets, 2, None, rules), rules)[0, 0].sum()
    expected = plain(parts, buckets, options, False, None)[0, 0].sum()
    logits = parts[0, 0, 0] @ unit_key(parts[0, :, 0]).mT
    assert -1e5 - 2 < float(logits.flatten()[1].detach()) < -1e5 + 2
    gradients = [torch.autograd.grad(y, parts)[0] for y in (found, expected)]
    # Logits of 1e5 are known to 1e-11, and so are their probabilities.
    torch.testing.assert_close(*gradients, atol=1e-9, rtol=1e-9)
    assert gradients[0][0, 0, 0].abs().max() > 1e-2


def test_dropout_keeps_the_mean_and_is_shared_over_chunks() -> None:
    D = 2 * E
    shape = ModelShape(d_model=D, n_heads=2, max_length=32)
    attention = ReformerAttention(shape, ReformerOptions(bucket_size=4, attention_dropout=0.5)).double().train()
    same = torch.randn(1, 1, D, dtype=torch.float64).expand(1, 32, D)
    outputs = torch.stack([attention(same, Context()).hidden for _ in range(200)])
    own = attention.project_out(attention.project_in(same)[..., D:])
    # 4 to 8 equal keys of which half are kept: a standard error of 0.03 relative over 200 draws and 8 chunks.
    assert ((outputs.mean((0, 2)) - own[:, 0]).norm() / own[:, 0].norm()) < 0.15
    torch.testing.assert_close(outputs[:, :, 8:12], outputs[:, :, 28:32])
    assert (outputs[:, :, 8] - outputs[:, :, 9]).abs().max() > 1e-2
    attention.eval()
    torch.testing.assert_close(attention(same, Context()).hidden, own)


@pytest.mark.parametrize("length", [16, 24])
def test_rounds_that_hide_nothing_agree_with_those_that_mask_every_pair(length: int) -> None:
    """`valid` that is true everywhere hides no key, but asks for masks."""
    rules = Rules(chunk=8)
    parts = torch.randn(2, length, 2, 3, E, dtype=torch.float64, requires_grad=True)
    buckets = torch.randint(N_BUCKETS, (2, 3, 2, length))
    everything = torch.ones(2, length, dtype=torch.bool)
    found, expected = (
        attend_in_chunks(parts, lay_out(buckets, N_BUCKETS, valid, rules), rules) for valid in (None, everything)
    )
    weights = torch.randn(found.shape, dtype=torch.float64)
    gradients = [torch.autograd.grad((heads * weights).sum(), parts)[0] for heads in (found, expected)]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*gradients)
