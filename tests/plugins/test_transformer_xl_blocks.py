"""Transformer-XL's fast attention against the plain one, which is the formula."""

from __future__ import annotations

import itertools
from functools import partial
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from attention_arena.layers import half_precision, linear, lower
from attention_arena_variants.transformer_xl import blocks, tiles
from attention_arena_variants.transformer_xl.blocks import attend_in_blocks
from attention_arena_variants.transformer_xl.plain import attend_plainly
from attention_arena_variants.transformer_xl.projection import project_twice
from attention_arena_variants.transformer_xl.relative import Positions
from attention_arena_variants.transformer_xl.tiles import TileSize
from attention_arena_variants.transformer_xl.windows import Windows

EXACT = 1e-10
B, H, E = 3, 3, 4

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")

CAUSAL = pytest.mark.parametrize("causal", [True, False])


class Inputs(NamedTuple):
    """What attention learns from: query (B, T, H, E), keys and values (B, S, 2, H, E), vectors (H, E, W), biases."""

    query: Tensor
    present: Tensor
    past: Tensor
    vectors: Tensor | None
    of_content: Tensor | None
    of_position: Tensor | None

    @property
    def positions(self) -> Positions | None:
        return None if self.vectors is None else Positions(self.vectors, self.of_content, self.of_position)

    def exact(self) -> Inputs:
        """The same numbers in float64."""
        query, present, past, *rest = (None if x is None else x.detach().double().requires_grad_() for x in self)
        assert query is not None
        assert present is not None
        assert past is not None
        return Inputs(query, present, past, *rest)

    @property
    def leaves(self) -> list[Tensor]:
        return [x for x in self if x is not None]


def inputs(windows: Windows, encoding: str, dtype: torch.dtype = torch.float64, deviation: float = 1.0) -> Inputs:
    generator = torch.Generator().manual_seed(1)

    def leaf(*shape: int) -> Tensor:
        x = torch.randn(shape, generator=generator, dtype=torch.float64) * deviation
        return x.to(dtype).requires_grad_()

    n_keys, n_distances = windows.n_before + windows.n_tokens, windows.furthest - windows.nearest + 2
    query, present = leaf(B, windows.n_tokens, H, E), leaf(B, n_keys, 2, H, E)
    past = present.detach().clone().requires_grad_()
    vectors = None if encoding == "abs" else leaf(H, E, n_distances)
    biases = (leaf(H, E), leaf(H, E)) if encoding == "rel_xl" else (None, None)
    return Inputs(query, present, past, vectors, *biases)


def ragged(windows: Windows) -> Tensor:
    """Which keys (B, S) are real: all, all but some at both ends and one inside, none."""
    valid = torch.ones(B, windows.n_before + windows.n_tokens, dtype=torch.bool)
    valid[1, [0, -1, valid.shape[1] // 2]] = False
    valid[2] = False
    return valid


def outcome(found: Tensor, given: Inputs) -> list[Tensor]:
    """Return heads and the gradients of all that attention learns from, under a loss with no two equal weights."""
    places = torch.arange(found.numel(), dtype=torch.float64).view(found.shape)
    loss = (found.double() * places.sin()).sum()
    return [found, *torch.autograd.grad(loss, given.leaves, materialize_grads=True, allow_unused=True)]


def require_equal(
    windows: Windows,
    encoding: str,
    valid: Tensor | None = None,
    dtype: torch.dtype = torch.float64,
    atol: float = EXACT,
) -> None:
    """Compare with the plain form in float64 on the same numbers."""
    given = inputs(windows, encoding, dtype)
    found = outcome(attend_in_blocks(given.query, given.present, given.past, given.positions, windows, valid), given)
    exact = given.exact()
    plain = attend_plainly(exact.query, exact.present, exact.past, exact.positions, windows, valid)
    for a, b in zip(found, outcome(plain, exact), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=atol, atol=atol)


@pytest.fixture(params=["whole", "single", "several"])
def sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles at their true size; of one matrix and 2 queries; of several matrices and 3 queries."""
    size = {"whole": None, "single": TileSize(2, 1), "several": TileSize(3, 100)}[request.param]
    if size is not None:
        monkeypatch.setattr(tiles, "tile_size", lambda x: size)


@pytest.mark.parametrize("padded", [False, True])
@CAUSAL
@pytest.mark.parametrize("encoding", ["rel_xl", "rel_shaw", "abs"])
@pytest.mark.parametrize(
    ("length", "memory", "span", "n_before", "n_tokens"),
    [
        (1, 0, None, 0, 1),
        (1, 2, None, 0, 5),
        (3, 0, None, 0, 7),
        (4, 3, None, 0, 13),
        (4, 4, None, 4, 12),
        (3, 7, None, 2, 11),
        (5, 3, None, 9, 8),
        (16, 4, None, 0, 9),
        (4, 3, 3, 2, 13),
        (2, 7, 5, 0, 10),
    ],
)
@pytest.mark.usefixtures("sizes")
def test_the_fast_form_and_its_gradients_are_those_of_the_plain_one(
    length: int, memory: int, span: int | None, n_before: int, n_tokens: int, encoding: str, causal: bool, padded: bool
) -> None:
    """In float64, where the order of sums moves nothing above 1e-13."""
    windows = Windows(length, memory, causal, span, n_before, n_tokens)
    require_equal(windows, encoding, ragged(windows) if padded else None)


@CAUSAL
def test_tiles_of_the_true_size_and_more_than_one_are_the_plain_form(causal: bool) -> None:
    windows = Windows(150, 140, causal, None, 20, 310)
    require_equal(windows, "rel_xl", ragged(windows))


@CAUSAL
@pytest.mark.parametrize("has_matrix_units", [False, True])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_lower_precision_is_as_good_as_its_type(
    dtype: torch.dtype, atol: float, has_matrix_units: bool, causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradients reach 7, which bfloat16 with its 8 bits rounds by up to 0.015, and several roundings meet in one."""
    monkeypatch.setattr(half_precision, "has_fast_products", lambda dtype, device: has_matrix_units)
    windows = Windows(20, 14, causal, None, 5, 70)
    require_equal(windows, "rel_xl", ragged(windows), dtype, atol)


@pytest.mark.parametrize("has_matrix_units", [False, True])
def test_gradients_in_bfloat16_are_summed_in_float32(has_matrix_units: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of 512 tiles adds 1 / 512 to the gradient of a value, which in bfloat16 would end at one half."""
    monkeypatch.setattr(half_precision, "has_fast_products", lambda dtype, device: has_matrix_units)
    monkeypatch.setattr(tiles, "tile_size", lambda x: TileSize(1, 1))
    n = 512
    query = torch.zeros(1, n, 1, 1, dtype=torch.bfloat16)
    keys = torch.zeros(1, n, 2, 1, 1, dtype=torch.bfloat16, requires_grad=True)
    heads = attend_in_blocks(query, keys, keys.detach(), None, Windows(n, 0, False, None, 0, n))
    (gradient,) = torch.autograd.grad(heads.sum(), [keys])
    torch.testing.assert_close(gradient[:, :, 1], torch.ones_like(gradient[:, :, 1]))


@CAUSAL
@pytest.mark.usefixtures("sizes")
def test_dropout_is_repeated_in_backward(causal: bool) -> None:
    windows = Windows(3, 2, causal, None, 1, 7)
    given = inputs(windows, "rel_xl")

    def attend(query: Tensor, keys: Tensor, *positions: Tensor) -> Tensor:
        torch.manual_seed(5)
        return attend_in_blocks(query, keys, keys, Positions(*positions), windows, ragged(windows), 0.4)

    torch.autograd.gradcheck(attend, [x for x in given.leaves if x is not given.past], fast_mode=True)


def test_dropout_leaves_a_share_of_the_probabilities_and_scales_them() -> None:
    """Seen through the identity as values. Of 6000 draws the kept share is within 4 standard errors, 0.025."""
    n, dropout = 50, 0.4
    windows = Windows(n, 0, True, None, 0, n)
    query, key = (torch.randn(1, n, 5, n, dtype=torch.float64) / 10 for _ in range(2))
    value = torch.eye(n, dtype=torch.float64)[None, :, None].expand(1, n, 5, n)
    keys = torch.stack([key, value], dim=2)
    whole, dropped = (attend_in_blocks(query, keys, keys, None, windows, None, share) for share in (0.0, dropout))
    seen = whole > 0
    assert not dropped[~seen].any()
    kept = dropped[seen] > 0
    torch.testing.assert_close(dropped[seen][kept], whole[seen][kept] / (1 - dropout))
    assert kept.double().mean().item() == pytest.approx(1 - dropout, abs=0.025)


def test_backward_under_autocast_stays_in_the_type_of_forward() -> None:
    windows = Windows(3, 2, True, None, 1, 7)
    given = inputs(windows, "rel_xl", torch.float32)
    found = attend_in_blocks(given.query, given.present, given.past, given.positions, windows).sin().sum()
    expected = torch.autograd.grad(found, given.leaves, retain_graph=True)
    with torch.autocast("cpu", torch.bfloat16):
        for a, b in zip(torch.autograd.grad(found, given.leaves), expected, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("remembers", [True, False])
def test_one_projection_for_two_uses_has_the_gradients_of_two(remembers: bool) -> None:
    rows, weight = torch.randn(2, 5, 4, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    leaves = [rows.clone().requires_grad_(), rows.clone().requires_grad_(remembers), weight.requires_grad_()]
    once, twice = project_twice(leaves[0], leaves[1], leaves[0], weight), (leaves[0] @ weight.T, leaves[1] @ weight.T)
    learning = [leaf for leaf in leaves if leaf.requires_grad]
    gradients = [torch.autograd.grad((a.sin() + (2 * b).cos()).sum(), learning) for a, b in (once, twice)]
    for a, b in itertools.chain(zip(once, twice, strict=True), zip(*gradients, strict=True)):
        torch.testing.assert_close(a, b)


def test_one_projection_under_autocast_is_that_of_a_linear_layer() -> None:
    rows, weight = torch.randn(2, 5, 4), torch.randn(6, 4)
    results = []
    for project in (lambda x, w: project_twice(x, x.detach(), lower(x), w)[0], partial(linear, wide=True)):
        leaves = [rows.clone().requires_grad_(), weight.clone().requires_grad_()]
        with torch.autocast("cpu", torch.bfloat16):
            found = project(*leaves)
        results.append([found, *torch.autograd.grad(found.float().sin().sum(), leaves)])
    for a, b in zip(*results, strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b)


def test_scores_by_distance_are_scores_by_key_shifted_back() -> None:
    """The gradient of the shift: every number at its distance, and zeros where a row lacks one."""
    for P, Q, w in ((3, 5, 6), (3, 5, 8), (1, 4, 5), (4, 4, 5)):
        scores = torch.randn(2, P, Q).tril(w - P)
        found = blocks._unshift(scores, w)
        expected = torch.zeros(2, P, w)
        for i, j in itertools.product(range(P), range(Q)):
            if P - 1 - i + j < w:
                expected[:, i, P - 1 - i + j] = scores[:, i, j]
        assert torch.equal(found, expected)
