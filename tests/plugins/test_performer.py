"""Performer's fast forms against the formula with its n x n matrix, and against full attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from attention_arena.layers.kernels import FusedKernel
from attention_arena.variant import Context, ModelShape
from attention_arena_variants.performer import PERFORMER, PerformerOptions, chunks, register_variants
from attention_arena_variants.performer.attention import PerformerAttention, attend_plainly

EXACT = 1e-10
N = 11
DIRECTIONS = pytest.mark.parametrize("causal", [False, True])
PADDED = pytest.mark.parametrize("padded", [False, True])
BOUND = {"min_denominator": 0.5}
"""For signed features, whose sums may be so near zero that rounding shows."""
SETTINGS: dict[str, dict[str, Any]] = {
    "positive": {},
    "positive, eps": {"eps": 1e-2},
    "positive, per head": {"per_head": True},
    "hyperbolic": {"kernel": "hyperbolic"},
    "hyperbolic, eps": {"kernel": "hyperbolic", "eps": 1e-2},
    "trigonometric": {"kernel": "trigonometric", **BOUND},
    "trigonometric, per head": {"kernel": "trigonometric", "per_head": True, **BOUND},
    "exp": {"kernel": "exp"},
    "exp, no eps": {"kernel": "exp", "eps": 0.0},
    "exp, no directions": {"kernel": "exp", "n_features": None},
    **{name: {"kernel": name} for name in ("relu", "elu", "sigmoid", "abs")},
    **{name: {"kernel": name, **BOUND} for name in ("gelu", "tanh", "cos", "identity")},
    "relu, no directions": {"kernel": "relu", "n_features": None},
}
ALL_SETTINGS = pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS)

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


def layer(causal: bool = False, d_head: int = 6, **options: Any) -> PerformerAttention:
    torch.manual_seed(0)
    shape = ModelShape(
        d_model=2 * d_head, n_heads=2, n_layers=1, max_length=64, causal=causal, positions="none", residual="plain"
    )
    settings = {"n_features": 9, "chunk": 4} | options
    attention = PERFORMER.build(PerformerOptions(**settings), shape).blocks[0].attention  # type: ignore[union-attr, index]
    assert isinstance(attention, PerformerAttention)
    return attention.double()


def heads(T: int = N, B: int = 3, E: int = 6, seed: int = 1, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Return query, key and value (B, 2, T, E), as views of one projection's layout."""
    generator = torch.Generator().manual_seed(seed)
    projected = torch.randn(B, T, 3, 2, E, generator=generator, dtype=torch.float64).to(dtype)
    return [part.requires_grad_() for part in projected.permute(2, 0, 3, 1, 4)]


def ragged(B: int = 3, T: int = N) -> Tensor:
    """Rows of T, T - 2 and 0 tokens; the second has holes, one at its start."""
    valid = torch.arange(T) < torch.tensor([T, T - 2, 0])[:B, None]
    valid[1, :1] = valid[1, 5:6] = False
    return valid


def plainly(attention: PerformerAttention, parts: list[Tensor], valid: Tensor | None, causal: bool) -> Tensor:
    T = parts[0].shape[2]
    allowed = torch.ones(T, T, dtype=torch.bool)
    allowed = (allowed.tril() if causal else allowed).expand(len(parts[0]), 1, T, T)
    if valid is not None:
        allowed = allowed & valid[:, None, None, :]
    kernel, m = attention.rules.kernel, attention.directions.current.shape[1]
    least = attention.rules.least / m
    return attend_plainly(*parts, attention.directions.current, kernel, allowed, least)


def passes(found: Tensor, parts: list[Tensor]) -> list[Tensor]:
    """Return heads and the gradients of query, key and value."""
    return [found, *torch.autograd.grad(found.sin().sum(), parts)]


def require_equal_passes(
    attention: PerformerAttention, parts: list[Tensor], valid: Tensor | None, causal: bool, tolerance: float = EXACT
) -> None:
    found = passes(attention.attend(*parts, Context(valid)), parts)
    expected = passes(plainly(attention, parts, valid, causal), parts)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@ALL_SETTINGS
@DIRECTIONS
@PADDED
@pytest.mark.parametrize("in_pieces", [False, True])
def test_the_fast_form_is_the_formula(
    options: dict[str, Any], causal: bool, padded: bool, in_pieces: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forward and backward; in one piece, and in pieces of one sequence and a few positions."""
    if in_pieces:
        monkeypatch.setattr(chunks, "SHORTEST_PIECE", 3)
        monkeypatch.setitem(chunks.FEATURES_AT_ONCE, "cpu", 1)
    require_equal_passes(layer(causal, **options), heads(), ragged() if padded else None, causal)


@PADDED
@pytest.mark.parametrize("options", [{}, {"kernel": "hyperbolic", "per_head": True}], ids=["positive", "hyperbolic"])
def test_the_form_without_a_fused_kernel_is_the_formula(
    options: dict[str, Any], padded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FusedKernel, "serves", lambda kernel, query: False)
    require_equal_passes(layer(**options), heads(), ragged() if padded else None, False)


@PADDED
@pytest.mark.parametrize("most", [1, 2, 3])
@pytest.mark.parametrize("kernel", ["positive", "elu"])
def test_totals_are_carried_over_whatever_is_computed_at_a_time(
    kernel: str, most: int, padded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks of two tokens, some at a time, of which the last ones are fewer; one token remains."""
    monkeypatch.setattr(chunks, "MOST_CHUNKS", most)
    require_equal_passes(layer(True, kernel=kernel, chunk=2), heads(), ragged() if padded else None, True)


@ALL_SETTINGS
@DIRECTIONS
def test_float32_is_near_the_formula_in_float64(options: dict[str, Any], causal: bool) -> None:
    """Heads to 1e-5 and gradients to 1e-4 of their size."""
    attention, parts, valid = layer(causal, **options), heads(), ragged()
    expected = passes(plainly(attention, parts, valid, causal), parts)
    low = [part.detach().float().requires_grad_() for part in parts]
    found = passes(attention.float().attend(*low, Context(valid)), low)
    for one, other, tolerance in zip(found, expected, (1e-5, 1e-4, 1e-4, 1e-4), strict=True):
        assert (one - other).abs().max() <= tolerance * other.abs().max()


@pytest.mark.parametrize("chunk", [1, 8, N])
@pytest.mark.parametrize("kernel", ["positive", "trigonometric", "relu"])
@pytest.mark.parametrize("T", [1, 7, N])
def test_p8_the_causal_form_is_the_masked_matrix_at_any_chunk(chunk: int, kernel: str, T: int) -> None:
    """The matrix is tril(phi(Q) phi(K)^T), at chunks of one token, of some and of all."""
    require_equal_passes(layer(True, kernel=kernel, chunk=chunk), heads(T), None, True)


@pytest.mark.parametrize("options", [{}, {"eps": 1e-4}, {"kernel": "trigonometric"}, {"kernel": "relu"}])
@pytest.mark.parametrize("chunk", [1, 4, N])
def test_p8_later_keys_of_any_size_change_nothing(options: dict[str, Any], chunk: int) -> None:
    """A prefix is the same to the bit when later keys are 5 times as large, with eps too."""
    attention = layer(True, chunk=chunk, **options).float()
    query, key, value = heads(dtype=torch.float32)
    expected = attention.attend(query, key, value, Context())
    for t in range(1, N):
        larger = torch.cat([key[:, :, :t], 5 * key[:, :, t:]], dim=2)
        found = attention.attend(query, larger, value, Context())
        assert torch.equal(found[:, :, :t], expected[:, :, :t])
        assert not torch.equal(found[:, :, t:], expected[:, :, t:])


def test_causal_rows_vanish_in_float32_where_queries_and_keys_are_huge() -> None:
    """A caveat that the README states: sums far below the largest term so far are lost; in float64 they are not."""
    lost = {}
    for dtype in (torch.float32, torch.float64):
        attention = layer(True, d_head=64, n_features=64, chunk=16).to(dtype)
        query, key, value = (part.to(dtype) for part in heads(64, E=64))
        for deviation in (4, 16):
            found = attention.attend(deviation * query, deviation * key, value, Context())
            lost[dtype, deviation] = int((found == 0).all(-1).sum())
    assert lost.pop((torch.float32, 16)) > 0
    assert not any(lost.values())


@DIRECTIONS
def test_p12_relu_attention_is_its_explicit_kernel(causal: bool) -> None:
    """Weights relu(W q) + eps times relu(W k) + eps, over their sum."""
    attention = layer(causal, kernel="relu", eps=0.05)
    query, key, value = heads()
    (W,) = attention.directions.current
    of_query, of_key = ((x @ W.T).clamp(min=0) + 0.05 for x in (query, key))
    weights = torch.einsum("bhif,bhjf->bhij", of_query, of_key)
    weights = weights.tril() if causal else weights
    expected = weights / weights.sum(-1, keepdim=True) @ value
    torch.testing.assert_close(attention.attend(query, key, value, Context()), expected, rtol=EXACT, atol=EXACT)


@DIRECTIONS
@pytest.mark.parametrize("options", [{}, {"kernel": "hyperbolic"}, {"kernel": "trigonometric"}, {"per_head": True}])
def test_with_many_features_attention_is_softmax(options: dict[str, Any], causal: bool) -> None:
    """The error falls as 1 / sqrt(m): 16 times from 64 to 16384 features, on average over draws; 4 allows for one."""
    query, key, value = (x.detach() / 2 for x in heads())
    expected = functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
    few, many = (
        (layer(causal, n_features=m, **options).attend(query, key, value, Context()) - expected).norm()
        for m in (2**6, 2**14)
    )
    assert many < few / 4
    assert many < 0.02 * expected.norm()


@pytest.mark.parametrize(("kernel", "size"), [("identity", 0.3), ("trigonometric", 1.0)])
@DIRECTIONS
def test_a_signed_denominator_near_zero_counts_as_the_least(kernel: str, size: float, causal: bool) -> None:
    """The bound is high here, so that many sums are below it, of either sign; both forms replace the same ones."""
    attention = layer(causal, kernel=kernel, min_denominator=0.3)
    parts = [size * part for part in heads()]
    require_equal_passes(attention, parts, ragged(), causal)
    bound = attention.attend(*parts, Context())
    free = layer(causal, kernel=kernel).attend(*parts, Context())
    replaced = (bound - free).abs().amax(-1) > EXACT
    assert 0.1 < replaced.double().mean() < 0.9


@pytest.mark.parametrize("options", [{}, {"kernel": "relu"}, {"kernel": "exp"}])
@DIRECTIONS
def test_a_positive_denominator_is_never_bound(options: dict[str, Any], causal: bool) -> None:
    lowest, highest = (
        layer(causal, min_denominator=least, **options).attend(*heads(), Context()) for least in (1e-9, 0.9)
    )
    assert torch.equal(lowest, highest)


@pytest.mark.parametrize("kernel", ["positive", "hyperbolic", "exp"])
def test_the_bidirectional_form_stands_any_range_of_exponents(kernel: str) -> None:
    """In float32, where exponents of order 1000 spread over features and keys alike; float64 holds half of it."""
    attention = layer(kernel=kernel, eps=0.0)
    parts = [10 * part for part in heads()[:2]] + [heads()[2]]
    expected = plainly(attention, parts, None, False)
    found = attention.float().attend(*(part.float() for part in parts), Context())
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-3)


@ALL_SETTINGS
@DIRECTIONS
def test_half_precision_is_rounded_at_the_ends_alone(options: dict[str, Any], causal: bool) -> None:
    """Features of bfloat16 heads are those of float32, under autocast too: the result is off by its own rounding."""
    attention = layer(causal, **options).float()
    low = heads(dtype=torch.bfloat16)
    expected = attention.attend(*(part.float() for part in low), Context(ragged()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = attention.attend(*low, Context(ragged()))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected.bfloat16(), rtol=0, atol=0)
    grads = torch.autograd.grad(found.float().sin().sum(), low)
    assert all(grad.dtype == torch.bfloat16 and grad.isfinite().all() for grad in grads)


def decode(attention: PerformerAttention, parts: list[Tensor]) -> Tensor:
    kept, outputs = None, []
    for t in range(parts[0].shape[2]):
        output, kept = attention.attend_step(*(part[:, :, t : t + 1] for part in parts), t, kept)
        outputs.append(output)
    return torch.cat(outputs, dim=2)


@ALL_SETTINGS
def test_steps_are_the_causal_form(options: dict[str, Any]) -> None:
    attention, parts = layer(True, **options), heads()
    expected = attention.attend(*parts, Context())
    torch.testing.assert_close(decode(attention, parts), expected, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("options", [{}, {"eps": 1e-2}, {"kernel": "hyperbolic"}, {"kernel": "relu"}])
def test_gradients_go_through_steps(options: dict[str, Any]) -> None:
    attention, parts = layer(True, **options), heads()
    expected = passes(attention.attend(*parts, Context()), parts)
    for one, other in zip(passes(decode(attention, parts), parts), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=EXACT, atol=EXACT)


def test_what_steps_keep_does_not_grow() -> None:
    """H m (d_head + 1) sums and a gauge for each sequence, however long."""
    attention = layer(True)
    sizes, kept = [], None
    for t in range(5):
        _, kept = attention.attend_step(*(part[:, :, :1] for part in heads(seed=t)), t, kept)
        sizes.append(sum(part.numel() for part in kept))
    assert set(sizes) == {3 * 2 * (9 * 7 + 1)}


@pytest.mark.parametrize("options", [{}, {"eps": 1e-3}, {"kernel": "relu"}])
@DIRECTIONS
def test_inputs_are_left_as_they_are(options: dict[str, Any], causal: bool) -> None:
    attention, parts, valid = layer(causal, **options), heads(), ragged()
    before = [part.clone() for part in (*parts, valid)]
    passes(attention.attend(*parts, Context(valid)), parts)
    for part, copy in zip((*parts, valid), before, strict=True):
        assert torch.equal(part, copy)


@pytest.mark.parametrize("kernel", ["positive", "trigonometric", "relu"])
@DIRECTIONS
def test_shapes_can_be_had_without_data(kernel: str, causal: bool) -> None:
    with torch.device("meta"):
        attention = layer(causal, kernel=kernel)
    parts = [part.detach().to("meta") for part in heads()]
    found = attention.attend(*parts, Context(ragged().to("meta")))
    assert found.is_meta
    assert found.shape == parts[2].shape


def test_the_catalogue_names_the_variant() -> None:
    assert [variant.name for variant in register_variants()] == ["performer"]


def test_every_kernel_is_compared_with_the_formula() -> None:
    kernels = PerformerOptions.model_fields["kernel"].annotation.__args__  # type: ignore[union-attr]
    assert set(kernels) == {options.get("kernel", "positive") for options in SETTINGS.values()}


def test_heads_share_directions_unless_each_has_its_own() -> None:
    assert layer().directions.current.shape == (1, 9, 6)
    first, second = layer(per_head=True).directions.current
    assert first.shape == second.shape == (9, 6)
    assert not torch.equal(first, second)
