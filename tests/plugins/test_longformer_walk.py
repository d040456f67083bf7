"""The order of Longformer's work, and that it comes to the same in any order of memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from attention_arena.variant import Context, ModelShape
from attention_arena_variants.longformer import LONGFORMER, LongformerOptions, walk
from attention_arena_variants.longformer.attention import LongformerAttention, attend_plainly
from attention_arena_variants.longformer.blocks import Desk
from attention_arena_variants.longformer.dilation import attend_blocked
from attention_arena_variants.longformer.landmarks import find_landmarks
from attention_arena_variants.longformer.layout import Band
from attention_arena_variants.longformer.pattern import Pattern
from attention_arena_variants.longformer.walk import Walk

H, E = 2, 4

DIRECTIONS = pytest.mark.parametrize("causal", [False, True], ids=["bidirectional", "causal"])
ROWS = pytest.mark.parametrize("B", [1, 3])

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


@pytest.fixture(params=["few blocks", "many blocks", "rows together"])
def sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let cells hold a few blocks of one row, all of one row, or one block of many rows."""
    scores, tokens = {"few blocks": (100, 8), "many blocks": (2**12, 8), "rows together": (2**12, 400)}[request.param]
    monkeypatch.setattr(walk, "BLOCK", 4)
    monkeypatch.setattr(walk, "SCORES_AT_ONCE", scores)
    monkeypatch.setattr(walk, "PIECE", tokens * H * E)


def by_channel(x: Tensor) -> Tensor:
    """Return `x` (B, T, 3, H, E) with each number side by side for all tokens."""
    return x.permute(2, 3, 4, 0, 1).contiguous().permute(3, 4, 0, 1, 2)


def heads(B: int, T: int) -> Tensor:
    return torch.randn(B, T, 3, H, E, dtype=torch.float64)


@ROWS
@pytest.mark.parametrize("T", [1, 4, 37])
@pytest.mark.parametrize("band", [Band(6, 0), Band(3, 3), Band(80, 0)], ids=str)
@pytest.mark.parametrize("order", ["by token", "by channel"])
@pytest.mark.usefixtures("sizes")
def test_every_query_is_in_one_cell_with_the_keys_it_reaches(B: int, T: int, band: Band, order: str) -> None:
    x = heads(B, T)
    way = Walk(by_channel(x) if order == "by channel" else x, band, None, None, 0.0, 0)
    seen = torch.zeros(B, H, T, dtype=torch.int64)
    for piece in way.pieces():
        of_piece = seen[piece.rows, :, piece.queries].flatten(0, 1)  # (R, L), a copy where there are several rows
        for cell in way.cells(piece):
            of_piece[cell.rows, cell.queries] += 1
            for block in range(cell.n_blocks):
                first = piece.queries.start + cell.queries.start + block * cell.block
                key = piece.keys.start + cell.keys.start + block * cell.block
                assert slice(key, key + cell.reach) == band.keys_of(slice(first, first + cell.block), T)
        seen[piece.rows, :, piece.queries] = torch.unflatten(of_piece, 0, (-1, H))
    assert (seen == 1).all()


@ROWS
@DIRECTIONS
@pytest.mark.parametrize("marked", [False, True], ids=["no landmarks", "landmarks"])
@pytest.mark.parametrize(("window", "dilations"), [(2, (1, 1)), (8, (1, 1)), (2, (2, 2)), (4, (1, 2))])
@pytest.mark.usefixtures("sizes")
def test_any_order_of_memory_equals_the_plain_form(
    B: int, causal: bool, marked: bool, window: int, dilations: tuple[int, ...]
) -> None:
    """Forward and backward, a row with padding among them; in float64 rounding stays far below 1e-10."""
    T, pattern = 61, Pattern(window, dilations, causal)
    valid = torch.arange(T) < torch.tensor([T - 5, T, T - 30])[:B, None]
    places = torch.zeros(B, T, dtype=torch.bool)
    places[:, [0, 9]] = marked
    x = heads(B, T)
    landmarks = find_landmarks(Context(valid, places), 0, x)

    def passes(given: Tensor, heads: Tensor) -> tuple[Tensor, Tensor]:
        heads = heads.masked_fill(places[:, :, None, None], 0.0)  # The landmarks' own are computed elsewhere.
        return heads, torch.autograd.grad(heads.sin().sum(), given)[0]

    expected = passes(x.requires_grad_(), attend_plainly(x, x, pattern, valid, places))
    for given in (x, by_channel(x.detach()).requires_grad_()):
        found = attend_blocked(given, pattern, valid=valid, landmarks=landmarks)
        torch.testing.assert_close(passes(given, found), expected, rtol=0, atol=1e-10)


def test_a_long_row_is_read_where_it_is() -> None:
    """And a copy is made of one in another order of memory, of several short ones, and of half precision."""
    x = heads(1, 300).float()
    for given, is_own in (
        (by_channel(x), True),
        (x, False),
        (by_channel(x.expand(2, -1, -1, -1, -1)), False),
        (by_channel(x).bfloat16(), False),
    ):
        desk = Desk(Walk(given, Band(8, 0), None, None, 0.0, 0))
        desk.lay_out(next(iter(desk.walk.pieces())))
        assert (desk.query.data_ptr() == given[:, :, 0].data_ptr()) == is_own
        torch.testing.assert_close(desk.query[:H], given[0, :, 0].transpose(0, 1).float())


@pytest.mark.parametrize(
    ("T", "positions", "options", "is_by_channel"),
    [
        (20, "none", {}, True),
        (20, "none", {"n_landmarks": 1}, True),
        (20, "none", {"n_landmarks": 1, "global_projections": False}, False),
        (20, "none", {"dilation": 2}, False),
        (20, "rotary", {}, False),
        (19, "none", {}, False),
    ],
    ids=str,
)
def test_the_layer_projects_by_channel_where_blocks_read_it_in_place(
    monkeypatch: pytest.MonkeyPatch, T: int, positions: Any, options: dict[str, Any], is_by_channel: bool
) -> None:
    monkeypatch.setattr(walk, "PIECE", 2 * 20 * 8 - 1)
    shape = ModelShape(d_model=8, n_heads=H, n_layers=1, max_length=32, causal=True, positions=positions)
    layer = LONGFORMER.build(LongformerOptions(window=4, **options), shape).blocks[0].attention  # type: ignore[union-attr, index]
    assert isinstance(layer, LongformerAttention)
    strides = []

    def attend(projected: Tensor, pattern: Pattern, **rest: Any) -> Tensor:
        strides.append(projected.stride())
        return attend_blocked(projected, pattern, **rest)

    layer.attend_locally = attend
    x = torch.randn(2, T, 8)
    hidden = layer(x, Context()).hidden
    assert (strides[0][1] == 1) == is_by_channel
    assert (strides[0][4] == 1) != is_by_channel
    layer.attend_locally = attend_blocked
    torch.testing.assert_close(hidden, layer(x, Context()).hidden)
