"""The patterns of the Sparse Transformer: which pairs they allow, and that their parts hold each of those once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from attention_arena.variant import ModelShape
from attention_arena_variants.sparse import SparseOptions, choose_patterns, fixed, strided
from attention_arena_variants.sparse.fixed import Fixed
from attention_arena_variants.sparse.layouts import Cells
from attention_arena_variants.sparse.parts import lay_out, lay_out_alike
from attention_arena_variants.sparse.pattern import Pattern
from attention_arena_variants.sparse.strided import Strided

DIRECTIONS = pytest.mark.parametrize("causal", [False, True])
SETS = pytest.mark.parametrize("sets", [(True, False), (False, True), (True, True)], ids=["near", "far", "both"])


def matrix(pattern: Pattern, T: int) -> Tensor:
    positions = torch.arange(T)
    return pattern.allows(positions[:, None], positions)


def a_strided(stride: int, window: int | None = None, *, causal: bool = True, sets: Sequence[bool] = (True, True)):  # type: ignore[no-untyped-def]
    return Strided(stride, causal, *sets, window or stride + 1)


def a_fixed(  # type: ignore[no-untyped-def]
    stride: int,
    width: int,
    *,
    causal: bool = True,
    sets: Sequence[bool] = (True, True),
    sub: int = 0,
    itself: bool = True,
):
    left = stride - (sub + 1) * width
    return Fixed(stride, causal, *sets, left, left + width, itself)


@pytest.mark.parametrize("stride", [1, 4, 7, 30])
def test_s2_rows_of_the_causal_strided_sets_have_the_papers_counts(stride: int) -> None:
    i = torch.arange(23)
    near = matrix(a_strided(stride, sets=(True, False)), 23).sum(1)
    far = matrix(a_strided(stride, sets=(False, True)), 23).sum(1)
    assert near.tolist() == (i.clamp(max=stride) + 1).tolist()
    assert far.tolist() == (i // stride + 1).tolist()


@pytest.mark.parametrize(("stride", "width"), [(1, 1), (4, 1), (7, 3), (30, 8)])
def test_s2_rows_of_the_causal_fixed_sets_have_the_papers_counts(stride: int, width: int) -> None:
    i = torch.arange(23)
    near = matrix(a_fixed(stride, width, sets=(True, False)), 23).sum(1)
    far = matrix(a_fixed(stride, width, sets=(False, True), itself=False), 23).sum(1)
    assert near.tolist() == (i % stride + 1).tolist()
    assert far.tolist() == (width * (i // stride) + (i % stride - (stride - width) + 1).clamp(min=0)).tolist()


def test_the_strided_sets_by_hand() -> None:
    """Query 6 at stride 3: itself and the 3 before it; itself and every third before it."""
    assert matrix(a_strided(3, sets=(True, False)), 8)[6].nonzero().flatten().tolist() == [3, 4, 5, 6]
    assert matrix(a_strided(3, sets=(False, True)), 8)[6].nonzero().flatten().tolist() == [0, 3, 6]
    assert matrix(a_strided(3, window=2), 8)[6].nonzero().flatten().tolist() == [0, 3, 5, 6]
    both_ways = matrix(a_strided(3, window=2, causal=False), 10)[6].nonzero().flatten().tolist()
    assert both_ways == [0, 3, 5, 6, 7, 9]


def test_the_fixed_sets_by_hand() -> None:
    """Query 9 in blocks of 4, whose last cell is the summary: its block from 8 on, cells 3 and 7."""
    assert matrix(a_fixed(4, 1, sets=(True, False)), 12)[9].nonzero().flatten().tolist() == [8, 9]
    assert matrix(a_fixed(4, 1, sets=(False, True)), 12)[9].nonzero().flatten().tolist() == [3, 7, 9]
    assert matrix(a_fixed(4, 1, sets=(False, True), itself=False), 12)[9].nonzero().flatten().tolist() == [3, 7]
    assert matrix(a_fixed(4, 1, sub=1), 12)[9].nonzero().flatten().tolist() == [2, 6, 8, 9]
    assert matrix(a_fixed(4, 1, causal=False), 13)[9].nonzero().flatten().tolist() == [3, 7, 8, 9, 10, 11]


@pytest.mark.parametrize("T", [1, 12, 29])
@pytest.mark.parametrize("stride", [1, 4, 5])
def test_s3_two_strided_layers_reach_every_earlier_token(stride: int, T: int) -> None:
    near, far = (matrix(a_strided(stride, sets=sets), T).long() for sets in ((True, False), (False, True)))
    everything = torch.ones(T, T, dtype=torch.bool).tril()
    for lower, upper in ((near, far), (far, near)):
        assert torch.equal(upper @ lower > 0, everything)


@pytest.mark.parametrize("width", [1, 2, 5])
def test_s3_two_fixed_layers_reach_every_earlier_token_near_set_first(width: int) -> None:
    T = 29
    sets = ((True, False), (False, True))
    near, far = (matrix(a_fixed(5, width, sets=pair, itself=False), T).long() for pair in sets)
    residual = torch.eye(T, dtype=torch.long)
    everything = torch.ones(T, T, dtype=torch.bool).tril()
    assert torch.equal((far + residual) @ (near + residual) > 0, everything)
    assert torch.equal((near + residual) @ (far + residual) > 0, everything) == (width == 5)
    # Without the residual, the first queries have no key in the far set.
    assert torch.equal(far @ near > 0, everything) == (width == 5)
    # What stands in for it.
    with_self = matrix(a_fixed(5, width, sets=(False, True)), T).long()
    assert torch.equal(with_self @ near > 0, everything)


def test_s3_only_the_last_summaries_reach_all() -> None:
    T = 29
    near = matrix(a_fixed(6, 2, sets=(True, False)), T).long()
    reached = [
        (matrix(a_fixed(6, 2, sets=(False, True), sub=sub), T).long() @ near > 0).sum().item() for sub in range(3)
    ]
    assert reached[0] == T * (T + 1) // 2
    assert reached[0] > reached[1] > reached[2]


def count_pairs(pattern: Pattern, T: int, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return how often the parts of a pattern hold each pair (B, T, T), and how often they should."""
    B = 1 if valid is None else len(valid)
    parts, n = lay_out(pattern, torch.zeros(B, T, 1, 1), valid)
    places = torch.arange(B * n).view(B, n, 1, 1)
    counts = torch.zeros(B * n, B * n, dtype=torch.long)
    for part in parts:
        chosen = places if part.sequences is None else places[part.sequences]
        queries, keys = (layout.take(chosen)[..., 0, 0] for layout in (part.queries, part.keys))
        N, P, Q = *queries.shape, keys.shape[1]
        allowed = torch.ones(1) if part.allowed is None else part.allowed
        if part.allowed is not None and allowed.dtype != torch.bool:  # what is added to scores
            allowed = allowed == 0
        allowed = allowed.expand(N, 1, P, Q)
        pairs = (queries[:, :, None] * B * n + keys[:, None]).flatten()
        counts.view(-1).index_add_(0, pairs, allowed.long().flatten())
    by_row = torch.stack([counts[b * n : b * n + T, b * n : (b + 1) * n] for b in range(B)])
    assert by_row.sum() == counts.view(B, n, B, n)[:, :T].sum()  # no pair of two rows
    assert not by_row[:, :, T:].any()  # no key in the padding
    expected = matrix(pattern, T).expand(B, T, T)
    if valid is not None:
        expected = expected & valid[:, None]
    return by_row[:, :, :T], expected.long()


def require_each_pair_once(pattern: Pattern) -> None:
    for T in (1, 2, 5, 16, 31, 40):
        for valid in (None, torch.arange(T) < torch.tensor([[T], [T - 2]])):
            found, expected = count_pairs(pattern, T, valid)
            assert torch.equal(found, expected)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let short sequences fall into several spans, blocks and groups."""
    lay_out_alike.cache_clear()
    monkeypatch.setattr("attention_arena_variants.sparse.parts.AT_ONCE", 12)
    monkeypatch.setattr(strided, "SMALLEST_BLOCK", 2)
    monkeypatch.setattr(strided, "HALVED_BLOCK", 2)
    monkeypatch.setattr(strided, "LARGEST_BLOCK", 8)
    monkeypatch.setattr(strided, "ROWS_AT_ONCE", 3)
    monkeypatch.setattr(fixed, "GROUP", 8)
    yield
    lay_out_alike.cache_clear()


@DIRECTIONS
@SETS
@pytest.mark.parametrize(
    ("stride", "window"), [(1, 1), (1, 4), (4, 4), (4, 5), (5, 3), (6, 2), (4, 13), (7, 50), (40, 41)]
)
@pytest.mark.usefixtures("small_pieces")
def test_strided_parts_hold_each_allowed_pair_once(
    causal: bool, sets: tuple[bool, bool], stride: int, window: int
) -> None:
    require_each_pair_once(a_strided(stride, window, causal=causal, sets=sets))


@DIRECTIONS
@SETS
@pytest.mark.parametrize("itself", [False, True])
@pytest.mark.parametrize(
    ("stride", "width", "sub"), [(1, 1, 0), (4, 1, 0), (4, 2, 1), (5, 5, 0), (3, 1, 2), (10, 3, 0)]
)
@pytest.mark.usefixtures("small_pieces")
def test_fixed_parts_hold_each_allowed_pair_once(
    causal: bool, sets: tuple[bool, bool], itself: bool, stride: int, width: int, sub: int
) -> None:
    require_each_pair_once(a_fixed(stride, width, causal=causal, sets=sets, sub=sub, itself=itself))


@DIRECTIONS
@SETS
def test_parts_at_their_true_sizes_hold_each_allowed_pair_once(causal: bool, sets: tuple[bool, bool]) -> None:
    """At 1100 tokens there are groups of 128 rows at stride 8, and groups of 512 tokens at stride 32."""
    for pattern in (
        a_strided(8, 100, causal=causal, sets=sets),
        a_strided(48, 600, causal=causal, sets=sets),
        a_fixed(32, 5, causal=causal, sets=sets),
    ):
        found, expected = count_pairs(pattern, 1100)
        assert torch.equal(found, expected)


@DIRECTIONS
@SETS
def test_masks_stay_small_at_length(causal: bool, sets: tuple[bool, bool]) -> None:
    patterns = (a_strided(64, 64, causal=causal, sets=sets), a_fixed(128, 32, causal=causal, sets=sets))
    for pattern in patterns:
        for T in (4096, 16384):
            parts, _ = lay_out(pattern, torch.empty(1, T, 1, 1, device="meta"), None)
            masks = [part.allowed for part in parts if part.allowed is not None]
            assert sum(mask.numel() for mask in masks) <= 96 * T


def test_summary_cells_are_never_written_as_queries() -> None:
    with pytest.raises(TypeError, match="never its queries"):
        Cells(4, 3, 4, 8, 0, 8).put(torch.zeros(1, 8, 1, 1), torch.zeros(1, 2, 1, 1))


def patterns(layer: int = 0, **options: Any) -> list[Pattern]:
    shape = ModelShape(d_model=16, n_heads=4, max_length=64, causal=True)
    return choose_patterns(SparseOptions(**options), shape, layer)


@pytest.mark.parametrize("pattern", ["strided", "fixed"])
def test_interleave_takes_the_near_set_in_even_layers_and_the_far_one_in_odd_layers(pattern: str) -> None:
    for layer in range(4):
        for each in patterns(layer, pattern=pattern):
            assert (each.near, each.far) == ((True, False) if layer % 2 == 0 else (False, True))


def test_merged_takes_both_sets_and_multihead_one_per_head() -> None:
    assert all((each.near, each.far) == (True, True) for each in patterns(combination="merged"))
    for layer in (0, 1):
        sets = [(each.near, each.far) for each in patterns(layer, combination="multihead")]
        assert sets == [(True, False), (False, True)] * 2


def test_heads_of_the_fixed_pattern_read_distinct_summaries() -> None:
    _, first, _, second = patterns(pattern="fixed", combination="multihead", stride=8, summary_width=2)
    assert isinstance(first, Fixed)
    assert isinstance(second, Fixed)
    assert (first.left, first.right, second.left, second.right) == (6, 8, 4, 6)
    merged = patterns(pattern="fixed", combination="merged", stride=8, summary_width=2, distinct_summaries=True)
    assert [each.left for each in merged if isinstance(each, Fixed)] == [6, 4, 2, 0]
    shared = patterns(pattern="fixed", combination="multihead", stride=8, summary_width=2, distinct_summaries=False)
    assert len(set(shared)) == 2


@pytest.mark.parametrize(("length", "stride"), [(1, 1), (13, 4), (1024, 32), (2048, 64), (4096, 64), (12288, 128)])
def test_the_stride_is_near_the_root_of_the_length(length: int, stride: int) -> None:
    (pattern,) = choose_patterns(SparseOptions(), ModelShape(n_heads=1, max_length=length), 0)
    assert pattern.stride == stride
    assert isinstance(pattern, Strided)
    assert pattern.window == stride + 1
