"""Reformer's layer against the shared-QK softmax written out pair by pair (R1, R2, R3), and its options."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from attention_arena.layers import rotate
from attention_arena.variant import Context, ModelShape
from attention_arena_variants.reformer import REFORMER
from attention_arena_variants.reformer.attention import ReformerAttention, count_rounds
from attention_arena_variants.reformer.options import ReformerOptions

H, E = 2, 6
D = H * E

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


def layer(causal: bool = False, shape: dict[str, Any] | None = None, **options: Any) -> ReformerAttention:
    size = {"d_model": D, "n_heads": H, "max_length": 16} | (shape or {})
    chosen = ReformerOptions(**({"bucket_size": 4} | options))
    return ReformerAttention(ModelShape(causal=causal, **size), chosen).double()


def heads_of(attention: ReformerAttention, x: Tensor) -> tuple[Tensor, Tensor]:
    """Query and value (B, H, T, E) by the layer's own weights."""
    query, value = attention.project_in(x).chunk(2, dim=-1)
    B, T, width = query.shape
    size = (B, T, H, width // H)
    return query.view(size).transpose(1, 2), value.view(size).transpose(1, 2)


def counts(buckets: Tensor, options: ReformerOptions, causal: bool, valid: Tensor | None) -> Tensor:
    """N_ij: in how many rounds query i has key j, pair by pair from bucket ids (B, H, R, T); (B, H, T, T)."""
    B, n_heads, n_rounds, T = buckets.shape
    m, n_chunks = options.bucket_size, -(-T // options.bucket_size)
    found = torch.zeros(B, n_heads, T, T)
    for b, h, r in itertools.product(range(B), range(n_heads), range(n_rounds)):
        ids = buckets[b, h, r].tolist()
        place = {t: s for s, (_, t) in enumerate(sorted(zip(ids, range(T), strict=True)))}
        for i, j in itertools.product(range(T), repeat=2):
            back = place[i] // m - place[j] // m
            near = back in (0, 1) or (options.wrap and back == 1 - n_chunks)
            if options.strict_causal:
                near = 0 <= place[i] - place[j] <= m
            same = ids[i] == ids[j] or not (options.within_bucket or options.strict_causal)
            real = valid is None or bool(valid[b, j])
            found[b, h, i, j] += near and same and real and not (causal and j > i)
    return found


def softmax_over(query: Tensor, value: Tensor, weights: Tensor, scale: float = 1.0) -> Tensor:
    """Shared-QK softmax in which pair ij counts `weights` (B, H, T, T) times; zeros for a query without keys."""
    T = query.shape[2]
    logits = scale * query @ (query / query.norm(dim=-1, keepdim=True)).transpose(-1, -2)
    logits = torch.where(torch.eye(T, dtype=torch.bool), -1e5, logits) + weights.to(query.dtype).log()
    probabilities = torch.where(weights.sum(-1, keepdim=True) > 0, logits, 0.0).softmax(-1)
    return torch.where(weights > 0, probabilities, 0.0) @ value


def expected_output(attention: ReformerAttention, x: Tensor, weights: Tensor) -> Tensor:
    query, value = heads_of(attention, x)
    heads = softmax_over(query, value, weights)
    return attention.project_out(heads.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def everything(B: int, T: int, causal: bool, valid: Tensor | None) -> Tensor:
    allowed = torch.ones(B, H, T, T)
    allowed = allowed.tril() if causal else allowed
    return allowed if valid is None else allowed * valid[:, None, None, :]


def half_padded(T: int) -> Tensor:
    valid = torch.ones(2, T, dtype=torch.bool)
    valid[1, (T + 1) // 2 :] = False
    return valid


def assert_same_function(attention: ReformerAttention, x: Tensor, found: Tensor, expected: Tensor) -> None:
    """Values within 1e-10, gradients of input and weights within 1e-10 relative, in float64."""
    assert (found - expected).abs().max() < 1e-10
    weights = torch.randn_like(found)
    inputs = [x, *attention.parameters()]
    for a, b in zip(
        torch.autograd.grad((found * weights).sum(), inputs, retain_graph=True),
        torch.autograd.grad((expected * weights).sum(), inputs),
        strict=True,
    ):
        assert (a - b).norm() <= 1e-10 * b.norm()


@pytest.mark.parametrize("duplicate_correction", [True, False])
@pytest.mark.parametrize(
    "options",
    [{}, {"within_bucket": True}, {"wrap": True}, {"strict_causal": True}],
    ids=["chunks", "buckets", "wrap", "strict"],
)
@pytest.mark.parametrize("T", [3, 13])
def test_r2_the_plain_form_counts_rounds_pair_by_pair(
    options: dict[str, Any], duplicate_correction: bool, T: int
) -> None:
    chosen = ReformerOptions(bucket_size=4, duplicate_correction=duplicate_correction, **options)
    for causal, valid in itertools.product((False, True), (None, half_padded(T))):
        buckets = torch.randint(4, (2, H, 3, T))
        if valid is not None:
            buckets = buckets.masked_fill(~valid[:, None, None], 4)
        expected = counts(buckets, chosen, causal, valid)
        expected = expected.clamp(max=1) if duplicate_correction else expected
        assert torch.equal(count_rounds(buckets, chosen, causal, valid), expected.long())


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("T", [1, 7, 8])
def test_r1_one_chunk_is_dense_shared_qk_softmax(causal: bool, padded: bool, T: int) -> None:
    attention = layer(causal, bucket_size=8, n_hashes=3)
    x = torch.randn(2, T, D, dtype=torch.float64, requires_grad=True)
    valid = half_padded(T) if padded else None
    expected = expected_output(attention, x, everything(2, T, causal, valid))
    assert_same_function(attention, x, attention(x, Context(valid)).hidden, expected)


@pytest.mark.parametrize("n_hashes", [1, 3])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("T", [5, 8])
def test_r1_two_chunks_with_wrap_are_dense_shared_qk_softmax(causal: bool, padded: bool, T: int, n_hashes: int) -> None:
    attention = layer(causal, wrap=True, n_hashes=n_hashes)
    x = torch.randn(2, T, D, dtype=torch.float64, requires_grad=True)
    valid = half_padded(T) if padded else None
    expected = expected_output(attention, x, everything(2, T, causal, valid))
    assert_same_function(attention, x, attention(x, Context(valid)).hidden, expected)


@pytest.mark.parametrize(
    "options",
    [{}, {"within_bucket": True}, {"wrap": True}, {"strict_causal": True}],
    ids=["chunks", "buckets", "wrap", "strict"],
)
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("T", [3, 13])
def test_r2_rounds_are_one_softmax_over_the_union_of_their_keys(
    options: dict[str, Any], causal: bool, padded: bool, T: int
) -> None:
    attention = layer(causal or "strict_causal" in options, n_hashes=3, **options)
    x = torch.randn(2, T, D, dtype=torch.float64, requires_grad=True)
    valid = half_padded(T) if padded else None
    output = attention(x, Context(valid))
    union = counts(output.replay, attention.options, attention.causal, valid) > 0
    assert_same_function(attention, x, output.hidden, expected_output(attention, x, union.double()))


@pytest.mark.parametrize("within_bucket", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_r2_without_correction_a_key_counts_once_for_each_round(causal: bool, within_bucket: bool) -> None:
    attention = layer(causal, n_hashes=3, duplicate_correction=False, within_bucket=within_bucket)
    x = torch.randn(2, 13, D, dtype=torch.float64, requires_grad=True)
    output = attention(x, Context())
    times = counts(output.replay, attention.options, causal, None)
    assert_same_function(attention, x, output.hidden, expected_output(attention, x, times))
    union = expected_output(attention, x, (times > 0).double())
    assert (output.hidden - union).abs().max() > 1e-3


@pytest.mark.parametrize("T", [1, 3, 13])
@pytest.mark.parametrize("options", [{}, {"strict_causal": True}, {"attention": "full"}])
def test_r3_the_first_causal_token_outputs_its_own_value(options: dict[str, Any], T: int) -> None:
    attention = layer(causal=True, n_hashes=2, **options)
    x = torch.randn(2, T, D, dtype=torch.float64)
    own = attention.project_out(attention.project_in(x[:, 0])[:, D:])
    torch.testing.assert_close(attention(x, Context()).hidden[:, 0], own, atol=1e-12, rtol=0)


def test_weights_trained_hashed_serve_full_attention() -> None:
    hashed, full = layer(n_hashes=2), layer(attention="full")
    full.load_state_dict(hashed.state_dict())
    assert torch.equal(full.project_in.weight, hashed.project_in.weight)
    x = torch.randn(2, 13, D, dtype=torch.float64, requires_grad=True)
    assert_same_function(full, x, full(x, Context()).hidden, expected_output(full, x, torch.ones(2, H, 13, 13)))


def test_full_attention_without_shared_qk_is_softmax_attention() -> None:
    attention = layer(causal=True, attention="full", shared_qk=False)
    x = torch.randn(2, 9, D, dtype=torch.float64)
    query, key, value = attention.project_in(x).view(2, 9, 3, H, E).permute(2, 0, 3, 1, 4)
    heads = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    expected = attention.project_out(heads.transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x, Context()).hidden, expected)


def test_the_sqrt_scale_divides_logits_by_the_root_of_the_head_width() -> None:
    attention = layer(wrap=True, scale="sqrt")
    x = torch.randn(2, 8, D, dtype=torch.float64)
    query, value = heads_of(attention, x)
    heads = softmax_over(query, value, torch.ones(2, H, 8, 8), scale=E**-0.5)
    expected = attention.project_out(heads.transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x, Context()).hidden, expected)


def test_rotary_positions_turn_the_shared_vectors() -> None:
    attention = layer(wrap=True, shape={"positions": "rotary"})
    x = torch.randn(2, 8, D, dtype=torch.float64)
    query, value = heads_of(attention, x)
    heads = softmax_over(rotate(query), value, torch.ones(2, H, 8, 8))
    expected = attention.project_out(heads.transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x, Context()).hidden, expected)


@pytest.mark.parametrize("options", [{}, {"attention": "full"}], ids=["lsh", "full"])
@pytest.mark.parametrize("causal", [False, True])
def test_half_precision_comes_close_and_sorts_alike(causal: bool, options: dict[str, Any]) -> None:
    """Values and gradients under autocast, within 2 % of the largest."""
    attention = layer(causal, n_hashes=2, **options).float()
    x, weights = torch.randn(2, 13, D, requires_grad=True), torch.randn(2, 13, D)
    exact = attention(x, Context())
    of_exact = torch.autograd.grad((exact.hidden * weights).sum(), x)[0]
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=dtype):
            found = attention(x, Context(replay=exact.replay)).hidden
        of_found = torch.autograd.grad((found.float() * weights).sum(), x)[0]
        for a, b in ((found.float(), exact.hidden), (of_found, of_exact)):
            assert (a - b).abs().max() < 2e-2 * b.abs().max().clamp(min=1)


def test_extreme_inputs_stay_finite() -> None:
    for causal, scale in itertools.product((False, True), (0.0, 1e-20, 1e4)):
        attention = layer(causal, n_hashes=2).float()
        x = (scale * torch.randn(2, 13, D)).requires_grad_()
        hidden = attention(x, Context()).hidden
        hidden.sum().backward()
        assert hidden.isfinite().all()
        assert x.grad is not None
        assert x.grad.isfinite().all()


def test_more_than_255_buckets_give_the_union_softmax_too() -> None:
    attention = layer(n_hashes=2, n_buckets=400, within_bucket=True)
    x = torch.randn(2, 13, D, dtype=torch.float64, requires_grad=True)
    replay = torch.tensor([3, 200, 399])[torch.randint(3, (2, H, 2, 13))].to(torch.int16)
    union = counts(replay, attention.options, False, None) > 0
    output = attention(x, Context(replay=replay)).hidden
    assert_same_function(attention, x, output, expected_output(attention, x, union.double()))
    assert attention(x, Context()).replay.dtype == torch.int16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_buckets": 5}, "n_buckets must be even and at least 2, .* got 5; set it to 4 or 6, or to null"),
        ({"n_buckets": 3}, "got 3; set it to 2 or 4, or to null"),
        ({"n_buckets": 130}, "must be a multiple of 4, .* got 130; set it to 128 or 132, or to null"),
        ({"shared_qk": False}, "shared_qk: false needs attention: full"),
        ({"wrap": True, "within_bucket": True}, "wrap joins two different buckets, which within_bucket: true parts"),
        ({"wrap": True, "strict_causal": True}, "wrap joins two different buckets, which strict_causal: true parts"),
        ({"attention": "full", "wrap": True}, "wrap: true is a rule of hashed attention, got attention: full"),
        ({"attention": "full", "within_bucket": True}, "within_bucket: true is a rule of hashed attention"),
        ({"attention": "full", "strict_causal": True}, "leave strict_causal false"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReformerOptions(**options)


def test_strict_causal_is_refused_on_a_bidirectional_model() -> None:
    with pytest.raises(ValueError, match="strict_causal: true needs a causal model, got a bidirectional one"):
        REFORMER.build(ReformerOptions(strict_causal=True), ModelShape(max_length=8))
