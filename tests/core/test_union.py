"""One softmax over several layouts of keys, against the softmax with the union as a mask."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from attention_arena.layers import (
    Blocks,
    Everything,
    Gathered,
    Part,
    Residues,
    Windows,
    add_where,
    attend_projected,
    attend_union,
    kernels,
)
from attention_arena.measures.compute.flops import count_flops

B, H, T, E = 2, 3, 24, 8
POSITIONS = torch.arange(T)
DISTANCE = POSITIONS[:, None] - POSITIONS
UP_TO = torch.ones(4, 4, dtype=torch.bool).tril()[None, None]

CASES: dict[str, tuple[list[Part], Tensor]] = {
    "blocks": ([Part(Blocks(4), Blocks(4))], POSITIONS[:, None] // 4 == POSITIONS // 4),
    "window": (
        [
            Part(Blocks(4), Blocks(4), UP_TO),
            Part(Blocks(4, start=4), Blocks(4, stop=T - 4)),
            Part(Blocks(4, start=8), Blocks(4, stop=T - 8), UP_TO.mT),
        ],
        (DISTANCE >= 0) & (DISTANCE <= 8),
    ),
    "runs": (
        [
            Part(Blocks(4, stop=4), Blocks(4, stop=4), UP_TO),
            Part(Blocks(4, start=4), Windows(8, 4, 0, T), torch.ones(4, 8, dtype=torch.bool).tril(4)[None, None]),
        ],
        (DISTANCE >= 0) & (POSITIONS[:, None] // 4 - POSITIONS // 4 <= 1),
    ),
    "residues": ([Part(Residues(6), Residues(6), UP_TO)], (DISTANCE >= 0) & (DISTANCE % 6 == 0)),
    "gathered": (
        [
            Part(
                Everything(),
                Gathered(torch.tensor([[0, 5], [7, 7]])),
                torch.tensor([[True, True], [True, False]])[:, None, None],
            )
        ],
        torch.stack(
            [
                ((POSITIONS == 0) | (POSITIONS == 5)).expand(T, T),
                (POSITIONS == 7).expand(T, T),
            ]
        )[:, None],
    ),
}


@pytest.fixture(params=["fused", "plain"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Choose the kernel for CPU tensors."""
    if request.param == "plain":
        monkeypatch.setattr(kernels.FusedKernel, "serves", lambda kernel, query: False)
    return str(request.param)


def heads(dtype: torch.dtype) -> list[Tensor]:
    """Return query, key and value (B, H, T, E), as views of one projection's layout."""
    torch.manual_seed(0)
    projected = torch.randn(B, T, 3, H, E, dtype=torch.float64).to(dtype)
    return [x.requires_grad_() for x in projected.permute(2, 0, 3, 1, 4)]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 3e-2), (torch.float16, 4e-3)],
)
def test_the_union_is_one_softmax(kernel: str, name: str, dtype: torch.dtype, tolerance: float) -> None:
    parts, allowed = CASES[name]
    found_inputs, dense_inputs = heads(dtype), heads(torch.float64)
    found = attend_union(*found_inputs, parts)
    expected = functional.scaled_dot_product_attention(*dense_inputs, attn_mask=allowed)
    weights = torch.randn(B, H, T, E, dtype=torch.float64)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance)
    of_found = torch.autograd.grad(found, found_inputs, weights.to(dtype))
    of_dense = torch.autograd.grad(expected, dense_inputs, weights)
    for gradient, reference in zip(of_found, of_dense, strict=True):
        torch.testing.assert_close(gradient.double(), reference, rtol=0, atol=3 * tolerance)


def around(reach: int, at_once: int) -> list[Part]:
    """Return blocks of 2 with those up to `reach` before and after them: the first and last apart, `at_once` others."""
    n_blocks, parts, fresh = T // 2, [], 0
    bounds = [(0, 1), *((b, min(b + at_once, n_blocks - reach)) for b in range(reach, n_blocks - reach, at_once))]
    bounds += [(b, b + 1) for b in (*range(1, reach), *range(n_blocks - reach, n_blocks))]
    for first, stop in sorted(bounds):
        low, high = max(0, first - reach), min(n_blocks, stop + reach)
        keys = Windows(2 * (high - low - (stop - first) + 1), 2, 2 * low, 2 * high, 2 * fresh)
        parts.append(Part(Blocks(2, 2 * first, 2 * stop), keys))
        fresh = high
    return parts


TILED: dict[str, tuple[list[Part], int]] = {
    "blocks": (CASES["blocks"][0], 1),
    "window": (CASES["window"][0], 1),
    "residues": (CASES["residues"][0], 1),
    **{f"runs of {2 * reach + 1}, {n} at once": (around(reach, n), T) for reach in (1, 2) for n in (1, 2, 3, 9)},
}
"""Parts, and how many of them name each token once as a query, and put it once as a key."""


@pytest.mark.parametrize("name", TILED)
def test_what_tiles_the_sequence_may_be_written(kernel: str, name: str) -> None:
    """The same comes out, in heads apart and in one tensor."""
    parts, n_tiling = TILED[name]
    tiled = [part._replace(tiles=index < n_tiling) for index, part in enumerate(parts)]
    weights = torch.randn(B, H, T, E, dtype=torch.float64)
    inputs = heads(torch.float64)
    expected = attend_union(*inputs, parts)
    of_expected = torch.autograd.grad(expected, inputs, weights)
    found = attend_union(*inputs, tiled)
    assert_close = partial(torch.testing.assert_close, rtol=0, atol=1e-14)
    assert_close(found, expected)
    for gradient, reference in zip(torch.autograd.grad(found, inputs, weights), of_expected, strict=True):
        assert_close(gradient, reference)
    for chosen in (parts, tiled):
        projected = torch.stack([x.transpose(1, 2) for x in inputs], dim=2).detach().requires_grad_()
        found = attend_projected(projected, chosen)
        assert_close(found, expected.transpose(1, 2))
        (gradient,) = torch.autograd.grad(found, projected, weights.transpose(1, 2))
        assert_close(gradient, torch.stack([x.transpose(1, 2) for x in of_expected], dim=2))


def test_a_part_may_be_about_some_sequences(kernel: str) -> None:
    parts, _ = CASES["blocks"]
    inputs = heads(torch.float64)
    expected = attend_union(*inputs, parts)
    each = [part._replace(sequences=slice(b, b + 1), tiles=True) for b in range(B) for part in parts]
    found = attend_union(*inputs, each)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)
    weights = torch.randn(B, H, T, E, dtype=torch.float64)
    of_expected, of_found = (torch.autograd.grad(x, inputs, weights) for x in (expected, found))
    for gradient, reference in zip(of_found, of_expected, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", CASES)
def test_a_mask_may_be_what_is_added_to_scores(kernel: str, name: str) -> None:
    parts, _ = CASES[name]
    ready = [
        part if part.allowed is None else part._replace(allowed=add_where(~part.allowed, torch.float64))
        for part in parts
    ]
    for found, expected in zip(*(heads_and_gradients(chosen) for chosen in (ready, parts)), strict=True):
        assert torch.equal(found, expected)


def heads_and_gradients(parts: list[Part]) -> tuple[Tensor, ...]:
    inputs = heads(torch.float64)
    found = attend_union(*inputs, parts)
    return found, *torch.autograd.grad(found.sin().sum(), inputs)


def test_gradients_agree_with_differences(kernel: str) -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(1, 2, 8, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    parts = [
        Part(Blocks(4), Blocks(4), UP_TO),
        Part(Blocks(4, start=4), Gathered(torch.tensor([[0, 2]]))),
    ]
    assert torch.autograd.gradcheck(lambda *x: attend_union(*x, parts, scale=0.7), inputs)


def test_a_query_without_a_key_gives_zeros_and_no_gradient(kernel: str) -> None:
    inputs = heads(torch.float32)
    hidden = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    hidden[..., 1, :] = False
    found = attend_union(*inputs, [Part(Blocks(4), Blocks(4), hidden)])
    empty = POSITIONS % 4 == 1
    assert (found[:, :, empty] == 0).all()
    assert (found[:, :, ~empty] != 0).all()
    gradients = torch.autograd.grad(found.sum(), inputs)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert (gradients[0][:, :, empty] == 0).all()


def test_a_query_that_no_part_names_gives_zeros(kernel: str) -> None:
    found = attend_union(*heads(torch.float32), [Part(Blocks(4, start=4), Blocks(4, stop=-4))])
    assert (found[:, :, :4] == 0).all()


def test_large_scores_stay_finite(kernel: str) -> None:
    query, key, value = heads(torch.float32)
    found = attend_union(query * 1e3, key * 1e3, value, CASES["window"][0])
    gradients = torch.autograd.grad(found.sum(), [query, key, value])
    assert found.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_layout_rows_in_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels.FusedKernel, "serves", lambda kernel, query: False)
    parts, _ = CASES["window"]
    whole = attend_union(*heads(torch.float64), parts)
    monkeypatch.setattr(kernels, "SCORES_AT_ONCE", 100)
    torch.testing.assert_close(attend_union(*heads(torch.float64), parts), whole, rtol=0, atol=0)


def test_dropout_is_that_of_the_weights() -> None:
    query, key, _ = heads(torch.float64)
    # With the identity as values, heads are the weights.
    value = torch.eye(T, dtype=torch.float64).expand(B, H, T, T)[..., :E].contiguous()
    parts, _ = CASES["window"]
    whole = attend_union(query, key, value, parts)
    torch.manual_seed(1)
    dropped = attend_union(query, key, value, parts, dropout=0.5)
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], 2 * whole[kept], rtol=1e-12, atol=0)
    assert 0.4 < kept[whole != 0].double().mean() < 0.6


def test_gradients_with_dropout_agree_with_differences() -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(1, 2, 8, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)]

    def attend(*x: Tensor) -> Tensor:
        torch.manual_seed(2)
        return attend_union(*x, [Part(Blocks(4), Blocks(4)), Part(Blocks(4, 4), Blocks(4, 0, 4))], dropout=0.4)

    assert torch.autograd.gradcheck(attend, inputs)


def test_flops_of_the_fused_kernel_are_counted() -> None:
    inputs = heads(torch.float32)
    parts = [Part(Blocks(4), Blocks(4))]
    products = 2 * B * H * T * 4 * E
    assert count_flops(lambda: attend_union(*inputs, parts)) == 2 * products
    assert count_flops(lambda: attend_union(*inputs, parts).sum().backward()) == 7 * products


@pytest.mark.parametrize("queries", [Gathered(torch.zeros(B, 1, dtype=torch.int64)), Windows(8, 4, 0, T)])
def test_positions_chosen_twice_are_never_queries(queries: Gathered | Windows) -> None:
    with pytest.raises(TypeError, match="never its queries"):
        attend_union(*heads(torch.float32), [Part(queries, Everything())])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_query_without_any_key_gives_zeros_and_has_no_gradient(
    kernel: str, dtype: torch.dtype, dropout: float
) -> None:
    inputs = heads(dtype)
    nothing = Part(Everything(), Everything(), torch.zeros(1, 1, T, T, dtype=torch.bool))
    found = attend_union(*inputs, [nothing], dropout=dropout)
    assert not found.any()
    assert not any(gradient.any() for gradient in torch.autograd.grad(found.sum(), inputs))
