"""Which keys Transformer-XL's tokens see, and how the rectangles and tiles that its fast form works on cover them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attention_arena_variants.transformer_xl import tiles as tiling
from attention_arena_variants.transformer_xl.tiles import TileSize, add_windows, tiles, windows_of
from attention_arena_variants.transformer_xl.windows import Windows

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")

CAUSAL = pytest.mark.parametrize("causal", [True, False])
WINDOWS = pytest.mark.parametrize(
    ("length", "memory", "span", "n_before", "n_tokens"),
    [
        (1, 0, None, 0, 1),
        (1, 2, None, 3, 5),
        (3, 0, None, 0, 8),
        (4, 3, None, 0, 13),
        (4, 4, None, 4, 12),
        (3, 7, None, 2, 11),
        (5, 3, None, 9, 8),
        (16, 4, None, 0, 9),
        (4, 3, 3, 2, 13),
        (2, 7, 5, 0, 10),
        (6, 2, 1, 0, 9),
    ],
)


def visible(windows: Windows) -> Tensor:
    """Which keys (T, S) are seen, token by token from the words of `Windows`."""
    seen = torch.zeros(windows.n_tokens, windows.n_before + windows.n_tokens, dtype=torch.bool)
    for token in range(windows.n_tokens):
        start = token // windows.segment_length * windows.segment_length
        for place in range(seen.shape[1]):
            key = place - windows.n_before
            in_segment = start <= key < start + windows.segment_length
            in_memory = key < start and (start == 0 or key >= start - windows.memory)
            is_later = windows.causal and key > token
            is_far = windows.span is not None and token - key >= windows.span
            seen[token, place] = (in_segment or in_memory) and not (is_later or is_far)
    return seen


@CAUSAL
@WINDOWS
@pytest.mark.parametrize("size", [TileSize(2, 1), TileSize(3, 100), TileSize(99, 10**6)])
def test_tiles_hold_every_visible_pair_once(
    length: int,
    memory: int,
    span: int | None,
    n_before: int,
    n_tokens: int,
    causal: bool,
    size: TileSize,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tiling, "tile_size", lambda x: size)
    windows = Windows(length, memory, causal, span, n_before, n_tokens)
    B, H, S = 3, 2, n_before + n_tokens
    names = torch.arange(B * S * H).view(B, S, H, 1)
    held = torch.zeros(B, H, n_tokens, S, dtype=torch.long)
    written = torch.zeros(B, n_tokens, H, 1)
    for tile in tiles(windows, written):
        tile.put(written, tile.queries(written) + 1)
        query, key = tile.queries(names[:, n_before:]), tile.keys(names)
        b, s, h = key // (S * H), key // H % S, key % H
        token = query // H % S - n_before
        held[b[..., None, :, 0], h[..., None, :, 0], token, s[..., None, :, 0]] += 1
    assert torch.equal(written, torch.ones_like(written))
    assert held.max() == 1
    assert held[:, :, visible(windows)].all()


@CAUSAL
@WINDOWS
def test_distances_end_at_those_of_the_furthest_and_the_nearest_key(
    length: int, memory: int, span: int | None, n_before: int, n_tokens: int, causal: bool
) -> None:
    windows = Windows(length, memory, causal, None, n_before, n_tokens)
    seen = visible(windows)
    token, place = seen.nonzero().unbind(1)
    distance = token + n_before - place
    assert (windows.furthest, windows.nearest) == (int(distance.max()), int(distance.min()))
    assert windows.has_past == bool((place - n_before < token // length * length).any())


@pytest.mark.parametrize("span", [None, 3])
def test_few_pairs_of_a_tile_are_hidden(span: int | None) -> None:
    """Of 8 queries those above the diagonal, 28, and with a span as many at its far end; never a whole key."""
    windows = Windows(64, 64, True, span, 0, 256)
    n_held = sum(block.n_segments * block.n_queries * block.n_keys for block in windows.blocks(8))
    n_seen = int(visible(windows).sum())
    n_blocks = 256 // 8
    assert n_held - n_seen <= n_blocks * 28 * (1 if span is None else 2)


@pytest.mark.parametrize(("start", "size", "stride", "count"), [(0, 5, 2, 4), (3, 2, 2, 3), (1, 3, 5, 2), (2, 4, 3, 1)])
def test_windows_are_views_and_sums_into_them_meet_every_place(start: int, size: int, stride: int, count: int) -> None:
    B, S, H, C = 2, 13, 3, 2
    x = torch.randn(B, S, H, C)
    part, expected = torch.randn(H, B, count, size, C), x.clone()
    found = windows_of(x, start, size, stride, count)
    assert found.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    for n in range(count):
        places = slice(start + n * stride, start + n * stride + size)
        assert torch.equal(found[:, :, n], x[:, places].permute(2, 0, 1, 3))
        expected[:, places] += part[:, :, n].permute(1, 2, 0, 3)
    add_windows(x, part, start, stride)
    torch.testing.assert_close(x, expected)
