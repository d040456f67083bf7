"""Longformer's fast forms against the plain one, which holds the matrix of all pairs, and what they keep."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from attention_arena.measures import count_flops, saved_for_backward
from attention_arena.testing.formula import SIZES, count_layer
from attention_arena.testing.trial import trials
from attention_arena.variant import Context, ModelShape
from attention_arena_variants.longformer import LONGFORMER, LongformerOptions, walk
from attention_arena_variants.longformer.attention import AttendLocally, LongformerAttention, attend_plainly
from attention_arena_variants.longformer.dilation import attend_blocked, join_residues, split_residues
from attention_arena_variants.longformer.flex import attend_flex
from attention_arena_variants.longformer.landmarks import find_landmarks
from attention_arena_variants.longformer.layout import Band
from attention_arena_variants.longformer.pattern import Pattern
from attention_arena_variants.longformer.window import attend_band

B, H, E = 3, 2, 4

DIRECTIONS = pytest.mark.parametrize("causal", [False, True], ids=["bidirectional", "causal"])
PADDED = pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
MARKED = pytest.mark.parametrize("marked", [False, True], ids=["no landmarks", "landmarks"])
WINDOWS = pytest.mark.parametrize(
    ("window", "dilations"), [(2, (1, 1)), (6, (2, 2)), (4, (1, 3)), (16, (1, 1)), (64, (5, 1))]
)

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


@pytest.fixture(params=["one piece", "small pieces"])
def sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let short sequences fall into several pieces, blocks and groups of rows, or into one of each."""
    if request.param == "small pieces":
        monkeypatch.setattr(walk, "BLOCK", 4)
        monkeypatch.setattr(walk, "PIECE", 8 * H * E)
        monkeypatch.setattr(walk, "SCORES_AT_ONCE", 64)
    return str(request.param)


def heads(T: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return projected heads (B, T, 3, H, E)."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(B, T, 3, H, E, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


def ragged(T: int) -> Tensor:
    """Rows of all tokens, of all but three and with a hole, and of none."""
    valid = torch.arange(T) < torch.tensor([T, T - 3, 0])[:, None]
    valid[1, :1] = False
    return valid


def marks(T: int) -> Tensor:
    """Two global tokens in the first row; three in the second, of which `ragged` pads two; one in the third."""
    marked = torch.zeros(B, T, dtype=torch.bool)
    for row, places in enumerate(([0, T // 2], [0, T // 3, T - 1], [T - 1])):
        marked[row, places] = True
    return marked


def run(attend: AttendLocally, pattern: Pattern, x: Tensor, valid: Tensor | None, marked: Tensor | None) -> Tensor:
    """Return the heads of a form, and zeros at global tokens, whose own rows it does not compute."""
    found = attend(x, pattern, valid=valid, landmarks=find_landmarks(Context(valid, marked), 0, x))
    return found if marked is None else found.masked_fill(marked[:, :, None, None], 0.0)


def plainly(pattern: Pattern, x: Tensor, valid: Tensor | None, marked: Tensor | None) -> Tensor:
    found = attend_plainly(x, x, pattern, valid, marked)
    return found if marked is None else found.masked_fill(marked[:, :, None, None], 0.0)


@WINDOWS
@DIRECTIONS
@PADDED
@MARKED
@pytest.mark.parametrize("T", [1, 13, 37])
@pytest.mark.usefixtures("sizes")
def test_blocks_equal_the_plain_form_forward_and_backward(
    window: int, dilations: tuple[int, ...], causal: bool, padded: bool, marked: bool, T: int
) -> None:
    """In float64 rounding stays far below 1e-10."""
    pattern = Pattern(window, dilations, causal)
    valid, landmarks = ragged(T) if padded else None, marks(T) if marked else None
    x, y = heads(T), heads(T)
    found, expected = run(attend_blocked, pattern, x, valid, landmarks), plainly(pattern, y, valid, landmarks)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    grad, of_plain = torch.autograd.grad(found.sin().sum(), x)[0], torch.autograd.grad(expected.sin().sum(), y)[0]
    torch.testing.assert_close(grad, of_plain, rtol=0, atol=1e-10)


@WINDOWS
@DIRECTIONS
@PADDED
@MARKED
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_equals_the_plain_form(
    window: int, dilations: tuple[int, ...], causal: bool, padded: bool, marked: bool
) -> None:
    """Forward alone, which is all that flex_attention has on a CPU; in float32, so to 1e-5."""
    T, pattern = 37, Pattern(window, dilations, causal)
    valid, landmarks = ragged(T) if padded else None, marks(T) if marked else None
    x = heads(T, torch.float32).detach()
    expected = plainly(pattern, x, valid, landmarks)
    torch.testing.assert_close(run(attend_flex, pattern, x, valid, landmarks), expected, rtol=0, atol=1e-5)


def test_flex_refuses_what_it_cannot_do() -> None:
    pattern = Pattern(2, (1, 1), False)
    with pytest.raises(ValueError, match="no backward on a CPU; use implementation: blocked"):
        attend_flex(heads(5, torch.float32), pattern)
    with pytest.raises(ValueError, match=r"no dropout of weights, got 0.5; use implementation: blocked"):
        attend_flex(heads(5, torch.float32).detach(), pattern, dropout=0.5)


@DIRECTIONS
@pytest.mark.usefixtures("sizes")
def test_gradients_agree_with_differences(causal: bool) -> None:
    pattern, valid, marked = Pattern(4, (1, 2), causal), ragged(7), marks(7)
    assert torch.autograd.gradcheck(lambda x: run(attend_blocked, pattern, x, valid, marked), heads(7), fast_mode=True)


@DIRECTIONS
@MARKED
@pytest.mark.usefixtures("sizes")
def test_half_precision_is_as_exact_as_it_can_hold(causal: bool, marked: bool) -> None:
    """bfloat16 has 8 bits: heads of order 1 are rounded once; the gradient of a landmark is a sum over 70 queries."""
    T, pattern, marking = 70, Pattern(8, (1, 2), causal), marks(70) if marked else None
    x, exact = heads(T, torch.bfloat16), heads(T, torch.bfloat16).double().detach().requires_grad_()
    found, expected = run(attend_blocked, pattern, x, None, marking), plainly(pattern, exact, None, marking)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-2)
    (grad,), (of_exact,) = (torch.autograd.grad(y.sum(), z) for y, z in ((found, x), (expected, exact)))
    assert grad.dtype == torch.bfloat16
    torch.testing.assert_close(grad.double(), of_exact, rtol=2e-2, atol=2e-2)


def test_compiled_blocks_equal_themselves() -> None:
    """Traced, not compiled to code; the same operations, so to rounding."""
    x, band = heads(37), Band(8, 0)
    found, expected = torch.compile(lambda x: attend_band(x, band), backend="aot_eager")(x), attend_band(x, band)
    torch.testing.assert_close(found, expected)
    grads = (torch.autograd.grad(y.sin().sum(), x)[0] for y in (found, expected))
    torch.testing.assert_close(*grads)


def layer(causal: bool = False, max_length: int = 128, **options: Any) -> LongformerAttention:
    torch.manual_seed(0)
    shape = ModelShape(d_model=16, n_heads=2, n_layers=1, max_length=max_length, causal=causal, positions="none")
    attention = LONGFORMER.build(LongformerOptions(**options), shape).blocks[0].attention  # type: ignore[union-attr, index]
    assert isinstance(attention, LongformerAttention)
    return attention


@DIRECTIONS
def test_autocast_keeps_to_float32(causal: bool) -> None:
    """Projections are computed or kept in bfloat16, of 8 bits; at most four roundings follow each other."""
    attention = layer(causal, window=8, dilation=((1, 2),), n_landmarks=2)
    x = torch.randn(2, 100, 16, requires_grad=True)
    exact = attention(x, Context()).hidden
    with torch.autocast("cpu", torch.bfloat16):
        found = attention(x, Context()).hidden
    torch.testing.assert_close(found.float(), exact, rtol=0, atol=3e-2)
    grads = [torch.autograd.grad(y.float().sin().sum(), [x, *attention.parameters()]) for y in (found, exact)]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=3e-2 * max(1.0, other.abs().max().item()))


def test_large_scores_stay_finite() -> None:
    x = (heads(37, torch.float32) * 1e3).detach().requires_grad_()
    found = run(attend_blocked, Pattern(4, (1, 2), True), x, ragged(37), marks(37))
    (gradient,) = torch.autograd.grad(found.sum(), x)
    assert found.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.usefixtures("sizes")
def test_backward_drops_the_weights_that_forward_dropped() -> None:
    """Against differences, with the generator set back before each call."""
    pattern, valid, marked = Pattern(4, (1, 2), False), ragged(7), marks(7)

    def attend(x: Tensor) -> Tensor:
        torch.manual_seed(3)
        landmarks = find_landmarks(Context(valid, marked), 0, x)
        return attend_blocked(x, pattern, valid=valid, landmarks=landmarks, dropout=0.4)

    assert torch.autograd.gradcheck(attend, heads(7), fast_mode=True)


def test_dropout_drops_weights_and_scales_the_rest() -> None:
    """With the identity as values, heads are the weights."""
    T = 64
    x = torch.randn(1, T, 3, 1, T)
    x[:, :, 2, 0] = torch.eye(T)
    whole, dropped = (attend_band(x, Band(20, 20), dropout=dropout) for dropout in (0.0, 0.25))
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept] * 0.75, whole[kept])
    assert 0.72 < kept[whole != 0].float().mean() < 0.78  # five deviations for 2,200 weights


def test_attention_dropout_acts_in_training_alone() -> None:
    plain, dropped = layer(window=8, n_landmarks=1), layer(window=8, n_landmarks=1, attention_dropout=0.5)
    x = torch.randn(2, 20, 16)
    expected = plain(x, Context()).hidden
    assert torch.equal(dropped.eval()(x, Context()).hidden, expected)
    different = (dropped.train()(x, Context()).hidden - expected).abs().amax(-1) > 1e-3
    assert different[:, 0].all()
    assert different[:, 1:].any()


@pytest.mark.parametrize("T", [1, 6, 7, 12])
def test_residues_are_joined_as_they_were_split(T: int) -> None:
    x = torch.randn(2, T, 3)
    rows = split_residues(x, 3)
    assert torch.equal(rows[4, : len(range(1, T, 3))], x[1, 1::3])
    assert torch.equal(join_residues(rows, 3)[:, :T], x)


@DIRECTIONS
def test_work_and_memory_grow_with_the_length_alone(causal: bool) -> None:
    flops, kept = {}, {}
    for n in (1024, 2048):
        attention, x = layer(causal, n, window=64), torch.randn(1, n, 16)
        flops[n] = count_flops(lambda a=attention, x=x: a(x, Context()))
        kept[n] = saved_for_backward(lambda a=attention, x=x: a(x, Context()).hidden, attention.parameters())
    assert flops[2048] < 2.1 * flops[1024]
    assert kept[2048] == 2 * kept[1024] == 4 * 2048 * 16 * 5


@pytest.mark.parametrize("length", [200, 99])
@DIRECTIONS
@pytest.mark.parametrize(
    "options",
    [
        {"window": 16},
        {"window": 600},
        {"window": 8, "dilation": 2},
        {"window": 8, "dilation": ((1, 3),)},
        {"window": 8, "n_landmarks": 4},
        {"window": 8, "n_landmarks": 4, "global_projections": False},
    ],
    ids=str,
)
def test_the_formula_is_what_is_counted(length: int, causal: bool, options: dict[str, Any]) -> None:
    """FLOPs exactly, but for products with landmarks in blocks; bytes but for masks and padding: both to 5 %."""
    chosen = LongformerOptions(**options)
    (trial,) = trials(LONGFORMER, chosen, causal=causal, **SIZES, max_length=200)
    found, stated = count_layer(trial, length), LONGFORMER.cost(chosen, trial.shape, length)  # type: ignore[misc]
    assert stated.flops == pytest.approx(found.flops, rel=0.05)
    assert stated.saved_bytes == pytest.approx(found.saved_bytes, rel=0.05)


@pytest.mark.parametrize("n_heads", [1, 2, 8, 64])
@pytest.mark.parametrize("window", [2, 64, 512, 4096])
def test_blocks_of_queries_are_small_beside_their_window(n_heads: int, window: int) -> None:
    """So that at most a fifth of the pairs are outside the band, unless windows are narrow."""
    block = walk.choose_block("cpu", Band(window, 0), n_heads)
    assert block == walk.BLOCK or block <= window / 4
    assert walk.choose_block("cuda", Band(window, 0), n_heads) == walk.BLOCK_ON_ACCELERATORS
