"""Layouts of the Sparse Transformer's calls: made once, shared, and few of them kept."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from attention_arena.variant import Context, ModelShape
from attention_arena_variants.sparse import SPARSE, SparseOptions
from attention_arena_variants.sparse.attention import SparseAttention
from attention_arena_variants.sparse.parts import LAYOUTS_KEPT, lay_out, lay_out_alike
from attention_arena_variants.sparse.strided import Strided

DIRECTIONS = pytest.mark.parametrize("causal", [False, True])


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    lay_out_alike.cache_clear()
    yield
    lay_out_alike.cache_clear()


def merged(*, causal: bool = True) -> Strided:
    return Strided(64, causal, near=True, far=True, window=64)


def some_heads(T: int, H: int = 8, E: int = 64, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(1, T, H, E, dtype=dtype)


def layer(*, causal: bool) -> SparseAttention:
    torch.manual_seed(0)
    shape = ModelShape(d_model=32, n_heads=4, max_length=96, causal=causal, positions="none", residual="plain")
    attention = SPARSE.build(SparseOptions(stride=8, combination="merged"), shape).blocks[0].attention  # type: ignore[union-attr, index]
    assert isinstance(attention, SparseAttention)
    return attention


@DIRECTIONS
def test_sequences_without_padding_are_laid_out_once(causal: bool) -> None:
    once, again = (lay_out(merged(causal=causal), some_heads(4096), None).parts for _ in range(2))
    masks = [[part.allowed for part in parts] for parts in (once, again)]
    assert all(first is second for first, second in zip(*masks, strict=True))


@DIRECTIONS
def test_parts_that_hide_the_same_pairs_share_a_mask(causal: bool) -> None:
    """Of the far set there is one mask at most; of the near set one inside, and one for each block at the ends."""
    parts = lay_out(merged(causal=causal), some_heads(16384), None).parts
    assert len({id(part.allowed) for part in parts if part.allowed is not None}) <= 4


def test_layouts_of_other_types_are_others() -> None:
    for dtype, of_scores in ((torch.float64, torch.float64), (torch.bfloat16, torch.float32)):
        parts = lay_out(merged(), some_heads(128, dtype=dtype), None).parts
        assert {part.allowed.dtype for part in parts if part.allowed is not None} == {of_scores}


def test_few_layouts_are_remembered() -> None:
    for T in range(64, 64 * (LAYOUTS_KEPT + 5), 64):
        lay_out(merged(), some_heads(T), None)
    assert lay_out_alike.cache_info().currsize == LAYOUTS_KEPT


def test_narrow_heads_are_laid_out_in_fewer_parts() -> None:
    wide, narrow = (lay_out(merged(), some_heads(4096, H, E), None).parts for H, E in ((8, 64), (2, 32)))
    assert len(narrow) < len(wide)


@DIRECTIONS
def test_what_inference_laid_out_serves_training(causal: bool) -> None:
    attention = layer(causal=causal)
    x = torch.randn(2, 96, 32, generator=torch.Generator().manual_seed(1))
    expected = torch.autograd.grad(attention(x, Context()).hidden.sum(), list(attention.parameters()))
    lay_out_alike.cache_clear()
    with torch.inference_mode():
        attention(x, Context())
    found = torch.autograd.grad(attention(x, Context()).hidden.sum(), list(attention.parameters()))
    for gradient, reference in zip(found, expected, strict=True):
        assert torch.equal(gradient, reference)


@DIRECTIONS
def test_a_layer_that_ran_is_copied_whole(causal: bool) -> None:
    attention = layer(causal=causal)
    x = torch.randn(1, 96, 32, generator=torch.Generator().manual_seed(1))
    before = pickle.dumps(attention)
    hidden = attention(x, Context()).hidden
    assert len(pickle.dumps(attention)) == len(before)
    assert torch.equal(pickle.loads(before)(x, Context()).hidden, hidden)
