"""Sparse attention: its fast form against the softmax under a boolean mask, and decoding by steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from attention_arena.measures import saved_for_backward
from attention_arena.variant import Context, ModelShape
from attention_arena_variants.softmax.attention import NaiveAttention
from attention_arena_variants.sparse import SPARSE, SparseOptions, fixed, register_variants, strided
from attention_arena_variants.sparse.attention import SparseAttention, attend_masked
from attention_arena_variants.sparse.parts import lay_out_alike

DIRECTIONS = pytest.mark.parametrize("causal", [False, True])
SETTINGS: dict[str, dict[str, Any]] = {
    "strided": {"stride": 5},
    "strided, window below": {"stride": 6, "window": 3, "combination": "merged"},
    "strided, window above": {"stride": 4, "window": 11, "combination": "merged"},
    "strided, window of the stride": {"stride": 7, "window": 7, "combination": "merged"},
    "strided, multihead": {"stride": 4, "combination": "multihead"},
    "fixed": {"pattern": "fixed", "stride": 5, "summary_width": 2},
    "fixed, no self": {"pattern": "fixed", "stride": 5, "summary_width": 2, "self_in_summary": False},
    "fixed, merged": {"pattern": "fixed", "stride": 6, "summary_width": 2, "combination": "merged"},
    "fixed, multihead": {"pattern": "fixed", "stride": 7, "summary_width": 3, "combination": "multihead"},
    "fixed, distinct": {"pattern": "fixed", "stride": 12, "combination": "merged", "distinct_summaries": True},
}
ALL_SETTINGS = pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS)


def layer(index: int = 0, *, causal: bool = True, max_length: int = 64, **options: Any) -> SparseAttention:
    torch.manual_seed(0)
    shape = ModelShape(
        d_model=32, n_heads=4, n_layers=2, max_length=max_length, causal=causal, positions="none", residual="plain"
    )
    attention = SPARSE.build(SparseOptions(**options), shape).blocks[index].attention  # type: ignore[union-attr, index]
    assert isinstance(attention, SparseAttention)
    return attention


def heads(T: int, dtype: torch.dtype = torch.float64, B: int = 3, seed: int = 1) -> list[Tensor]:
    """Return query, key and value (B, 4, T, 8), as views of one projection's layout."""
    generator = torch.Generator().manual_seed(seed)
    projected = torch.randn(B, T, 3, 4, 8, generator=generator, dtype=torch.float64).to(dtype)
    return [part.requires_grad_() for part in projected.permute(2, 0, 3, 1, 4)]


def ragged(B: int, T: int) -> Tensor:
    """Rows of T, T - 2 and 0 tokens; the second has a hole."""
    valid = torch.arange(T) < torch.tensor([T, T - 2, 0])[:B, None]
    valid[1, 1:2] = False
    return valid


def attend_plainly(attention: SparseAttention, parts: list[Tensor], valid: Tensor | None) -> Tensor:
    positions = torch.arange(parts[0].shape[2])
    allowed = attention.allowed(positions, positions)
    return attend_masked(*parts, allowed if valid is None else allowed & valid[:, None, None])


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let short sequences fall into several spans, blocks and groups."""
    lay_out_alike.cache_clear()
    monkeypatch.setattr("attention_arena_variants.sparse.parts.AT_ONCE", 24 * 32)
    monkeypatch.setattr(strided, "SMALLEST_BLOCK", 2)
    monkeypatch.setattr(strided, "HALVED_BLOCK", 2)
    monkeypatch.setattr(strided, "ROWS_AT_ONCE", 3)
    monkeypatch.setattr(fixed, "GROUP", 12)
    yield
    lay_out_alike.cache_clear()


@ALL_SETTINGS
@DIRECTIONS
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.usefixtures("small_pieces")
def test_s1_heads_and_gradients_equal_the_masked_softmax(options: dict[str, Any], causal: bool, padded: bool) -> None:
    """Lengths that the stride does not divide. In float64 rounding stays far below 1e-10."""
    for index in (0, 1):
        attention = layer(index, causal=causal, **options)
        for T in (1, 13, 37):
            valid = ragged(3, T) if padded else None
            results = []
            for attend in (lambda p, v: attention.attend(*p, Context(v)), lambda p, v: attend_plainly(attention, p, v)):  # noqa: B023
                parts = heads(T)
                found = attend(parts, valid)
                results.append((found, *torch.autograd.grad(found.sin().sum(), parts)))
            for fast, plain in zip(*results, strict=True):
                torch.testing.assert_close(fast, plain, rtol=0, atol=1e-10)


@ALL_SETTINGS
@DIRECTIONS
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.usefixtures("small_pieces")
def test_layers_attend_as_their_heads_do(options: dict[str, Any], causal: bool, padded: bool) -> None:
    """Where query, key and value stay in one tensor and where they do not."""
    attention = layer(1, causal=causal, **options).double()
    valid = ragged(3, 37) if padded else None
    x = torch.randn(3, 37, 32, generator=torch.Generator().manual_seed(3), dtype=torch.float64).requires_grad_()
    parts = attention.project_in(x).view(3, 37, 3, 4, 8).permute(2, 0, 3, 1, 4)
    heads_first = attend_plainly(attention, list(parts), valid)
    expected = attention.project_out(heads_first.transpose(1, 2).flatten(2))
    results = [
        (hidden, *torch.autograd.grad(hidden.sin().sum(), [x, *attention.parameters()]))
        for hidden in (attention(x, Context(valid)).hidden, expected)
    ]
    for fast, plain in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain, rtol=0, atol=1e-10)


@ALL_SETTINGS
@DIRECTIONS
def test_s1_holds_in_lower_precision(options: dict[str, Any], causal: bool) -> None:
    """To what a dtype can hold: about 1e-6 in float32; bfloat16 has 8 bits, and heads of order 1."""
    attention = layer(1, causal=causal, max_length=300, **options)
    exact_parts = heads(300)
    exact = attend_plainly(attention, exact_parts, None)
    exact_grads = torch.autograd.grad(exact.sum(), exact_parts)
    for dtype, forward, backward in ((torch.float32, 1e-5, 1e-4), (torch.bfloat16, 3e-2, 1e-1)):
        parts = heads(300, dtype)
        found = attention.attend(*parts, Context())
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), exact, rtol=0, atol=forward)
        for grad, expected in zip(torch.autograd.grad(found.sum(), parts), exact_grads, strict=True):
            torch.testing.assert_close(grad.double(), expected, rtol=0, atol=backward * expected.abs().max().item())


@pytest.mark.parametrize("padded", [False, True])
@DIRECTIONS
def test_s4_a_stride_of_the_length_is_dense_attention(causal: bool, padded: bool) -> None:
    T = 33
    valid = ragged(3, T) if padded else None
    dense = NaiveAttention(ModelShape(d_model=32, n_heads=4, max_length=T, causal=causal), 0.0)
    expected = dense.attend(*heads(T), Context(valid))
    for options in ({}, {"combination": "merged"}, {"pattern": "fixed"}, {"pattern": "fixed", "combination": "merged"}):
        found = layer(causal=causal, max_length=T, stride=T, **options).attend(*heads(T), Context(valid))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@DIRECTIONS
def test_narrow_queries_and_keys_are_scaled_by_their_own_width(causal: bool) -> None:
    attention = layer(causal=causal, stride=5, combination="merged", d_qk=0.5)
    assert attention.project_in.weight.shape == (32, 32)
    x = torch.randn(2, 37, 32, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    attention = attention.double()
    query, key = attention.project_in(x).chunk(2, -1)
    value = attention.project_value(x)
    parts = [part.unflatten(-1, (4, -1)).transpose(1, 2) for part in (query, key, value)]
    positions = torch.arange(37)
    scores = (parts[0] @ parts[1].mT / 2).masked_fill(~attention.allowed(positions, positions), -torch.inf)
    expected = attention.project_out((scores.softmax(-1) @ parts[2]).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x, Context()).hidden, expected, rtol=0, atol=1e-10)


@ALL_SETTINGS
def test_rows_of_a_batch_do_not_meet(options: dict[str, Any]) -> None:
    attention = layer(1, **options)
    together = attention.attend(*heads(37), Context())
    alone = attention.attend(*(part[1:2] for part in heads(37)), Context())
    torch.testing.assert_close(together[1:2], alone, rtol=0, atol=1e-12)


def test_empty_rows_of_the_fixed_far_set_are_zero_without_self() -> None:
    options: dict[str, Any] = {"pattern": "fixed", "stride": 5, "summary_width": 2}
    without = layer(1, **options, self_in_summary=False).attend(*heads(13), Context())
    assert not without[:, :, :3].any()
    assert without[:, :, 3:].all()
    query, key, value = heads(13)
    with_self = layer(1, **options).attend(query, key, value, Context())
    torch.testing.assert_close(with_self[:, :, :3], value[:, :, :3])


def decode(attention: SparseAttention, x: Tensor) -> tuple[Tensor, list[int]]:
    """Return hidden states of all steps, and how many tokens were kept after each."""
    state, found, kept = None, [], []
    for t in range(x.shape[1]):
        hidden, state, _ = attention.step(x[:, t : t + 1], Context(state=state))
        found.append(hidden)
        assert state is not None
        kept.append(sum(part.key.shape[2] for part in state.kept if part is not None))
    return torch.cat(found, 1), kept


@ALL_SETTINGS
def test_steps_equal_one_causal_pass(options: dict[str, Any]) -> None:
    x = torch.randn(2, 37, 32, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for index in (0, 1):
        attention = layer(index, **options).double()
        found, _ = decode(attention, x)
        torch.testing.assert_close(found, attention(x, Context()).hidden, rtol=0, atol=1e-10)


def test_decoding_keeps_what_later_queries_need() -> None:
    """After 31 tokens in blocks of 5: all for the strided far set; else the open block, and cells or the window."""
    x = torch.randn(1, 31, 32)
    expected = {
        "strided, near": (0, {"stride": 5, "window": 4}, 3 + 1),
        "strided, far": (1, {"stride": 5, "window": 4}, 31),
        "strided, merged": (0, {"stride": 5, "combination": "merged"}, 31),
        "fixed, near": (0, {"pattern": "fixed", "stride": 5, "summary_width": 2}, 1),
        "fixed, far": (1, {"pattern": "fixed", "stride": 5, "summary_width": 2}, 6 * 2 + 1),
        "fixed, merged": (0, {"pattern": "fixed", "stride": 5, "summary_width": 2, "combination": "merged"}, 6 * 2 + 1),
    }
    for name, (index, options, n_kept) in expected.items():
        _, kept = decode(layer(index, **options), x)
        assert kept[-1] == n_kept, name


def test_a_state_can_be_used_twice() -> None:
    attention = layer(stride=5, combination="merged")
    x = torch.randn(1, 6, 32)
    state = None
    for t in range(5):
        _, state, _ = attention.step(x[:, t : t + 1], Context(state=state))
    once, again = (attention.step(x[:, 5:], Context(state=state)).hidden for _ in range(2))
    assert torch.equal(once, again)


@pytest.mark.parametrize("pattern", ["strided", "fixed"])
def test_what_is_kept_for_backward_grows_with_the_length_alone(pattern: str) -> None:
    kept = {}
    for n in (512, 1024):
        attention = layer(max_length=n, pattern=pattern, stride=32, combination="merged")
        x = torch.randn(1, n, 32)
        kept[n] = saved_for_backward(lambda a=attention, x=x: a(x, Context()).hidden, attention.parameters())
    assert kept[1024] < 2.2 * kept[512]
    assert kept[1024] < 4 * 1024 * 32 * 12


@ALL_SETTINGS
def test_autocast_keeps_scores_exact_enough(options: dict[str, Any]) -> None:
    x = torch.randn(2, 100, 32, generator=torch.Generator().manual_seed(3)).requires_grad_()
    attention = layer(1, max_length=100, **options)
    exact = attention(x, Context()).hidden
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = attention(x, Context()).hidden
    torch.testing.assert_close(found.float(), exact, rtol=0, atol=3e-2)
    (gradient,) = torch.autograd.grad(found.float().sum(), [x])
    assert gradient.isfinite().all()


def test_masked_softmax_is_pytorchs() -> None:
    parts = heads(9)
    allowed = torch.rand(4, 9, 9, generator=torch.Generator().manual_seed(0)) < 0.5
    allowed |= torch.eye(9, dtype=torch.bool)
    expected = functional.scaled_dot_product_attention(*parts, attn_mask=allowed)
    torch.testing.assert_close(attend_masked(*parts, allowed), expected, rtol=0, atol=1e-12)


def test_the_hook_registers_the_variant() -> None:
    assert list(register_variants()) == [SPARSE]
