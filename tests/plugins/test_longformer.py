"""What only Longformer does: windows and global tokens, against formulas written out here, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from attention_arena.layers import Attention, Stack, rotate
from attention_arena.variant import Context, ModelShape
from attention_arena_variants.longformer import LONGFORMER, LongformerOptions, build, register_variants
from attention_arena_variants.longformer.attention import LongformerAttention
from attention_arena_variants.softmax.attention import NaiveAttention

EXACT = 1e-10
T = 13
"""Tokens of most sequences here: odd, and no multiple of any block or dilation."""
H = 2

DIRECTIONS = pytest.mark.parametrize("causal", [False, True], ids=["bidirectional", "causal"])
PADDED = pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


def stack(shape: dict[str, Any] | None = None, **options: Any) -> Stack:
    """A float64 stack in evaluation mode."""
    torch.manual_seed(0)
    fields = {"d_model": 8, "n_heads": H, "n_layers": 1, "d_ff": 12, "max_length": 32, "positions": "none"}
    backbone = build(LongformerOptions(**options), ModelShape(**(fields | (shape or {}))))
    assert isinstance(backbone, Stack)
    return backbone.double().eval()


def layer(shape: dict[str, Any] | None = None, *, same: bool = False, **options: Any) -> LongformerAttention:
    """The attention of the first layer; its global projections differ from the local ones, unless `same`."""
    attention = stack(shape, **options).blocks[0].attention
    assert isinstance(attention, LongformerAttention)
    if not same and attention.project_globally is not attention.project_in:
        with torch.no_grad():
            attention.project_globally.weight.normal_(std=0.4)
    return attention


def hidden(B: int = 3, length: int = T, seed: int = 1) -> Tensor:
    return torch.randn(B, length, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ragged(length: int = T) -> Tensor:
    """Rows of all tokens, of all but two and with a hole, and of none."""
    valid = torch.arange(length) < torch.tensor([length, length - 2, 0])[:, None]
    valid[1, 1] = False
    return valid


def marks(length: int = T) -> Tensor:
    """Rows of two, of three and of no global tokens; two of the three are padding in `ragged`."""
    marked = torch.zeros(3, length, dtype=torch.bool)
    marked[0, [0, 6]] = True
    marked[1, [1, 4, length - 1]] = True
    return marked


def by_formula(attention: LongformerAttention, x: Tensor, valid: Tensor | None, marked: Tensor | None) -> Tensor:
    """The layer, pair by pair: each query's keys are listed, each of them once, and one softmax is taken over them."""
    B, length, D = x.shape
    weights = {False: attention.project_in.weight, True: attention.project_globally.weight}
    parts = {
        everywhere: (x @ weight.mT).view(B, length, 3, H, D // H).unbind(2) for everywhere, weight in weights.items()
    }
    if attention.rotary:
        for everywhere, (query, key, value) in parts.items():
            turned = (rotate(part.transpose(1, 2)).transpose(1, 2) for part in (query, key))
            parts[everywhere] = (*turned, value)
    pattern = attention.pattern
    rows = []
    for b in range(B):
        real = [valid is None or bool(valid[b, t]) for t in range(length)]
        chosen = {t for t in range(length) if real[t] and (t < attention.n_first or _is(marked, b, t))}
        for i in range(length):
            query, key, value = parts[i in chosen]
            heads = []
            for h, distance in enumerate(pattern.dilations):
                window = {i - n * distance for n in range(pattern.window + 1)}
                if not pattern.causal:
                    half = pattern.window // 2
                    window = {i + n * distance for n in range(-half, half + 1)}
                seen = set(range(length)) if i in chosen else window | chosen
                keys = [j for j in sorted(seen) if 0 <= j < length and real[j] and (j <= i or not pattern.causal)]
                if not real[i] or not keys:
                    heads.append(x.new_zeros(D // H))
                    continue
                scores = key[b, keys, h] @ query[b, i, h] * (D // H) ** -0.5
                heads.append(scores.softmax(0) @ value[b, keys, h])
            rows.append(torch.cat(heads))
    return torch.stack(rows).view(B, length, D) @ attention.project_out.weight.mT


def _is(marked: Tensor | None, b: int, t: int) -> bool:
    return marked is not None and bool(marked[b, t])


def passes(attention: Attention, found: Tensor, x: Tensor) -> list[Tensor]:
    """Return the output and the gradients of input and parameters, zeros where there is none."""
    parameters = list(attention.parameters())
    grads = torch.autograd.grad(found.sin().sum(), [x, *parameters], allow_unused=True)
    return [found, *(torch.zeros_like(p) if g is None else g for g, p in zip(grads, [x, *parameters], strict=True))]


def assert_equal(found: list[Tensor], expected: list[Tensor], tolerance: float = EXACT) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance)


@DIRECTIONS
@PADDED
@pytest.mark.parametrize("marked", [False, True], ids=["no landmarks", "landmarks"])
@pytest.mark.parametrize(
    "options",
    [
        {"window": 4},
        {"window": 2, "dilation": 3},
        {"window": 4, "dilation": ((1, 2),)},
        {"window": 2, "dilation": ((3, 1),), "n_landmarks": 2},
        {"window": 6, "n_landmarks": 1, "global_projections": False},
        {"window": 64, "n_landmarks": 3},
    ],
    ids=str,
)
def test_g2_the_layer_is_one_softmax_over_window_and_globals(
    causal: bool, padded: bool, marked: bool, options: dict[str, Any]
) -> None:
    """G2: output and gradients, with two projections; a global token in a window counts once."""
    attention = layer({"causal": causal}, **options)
    x, valid, landmarks = hidden().requires_grad_(), ragged() if padded else None, marks() if marked else None
    found = passes(attention, attention(x, Context(valid, landmarks)).hidden, x)
    assert_equal(found, passes(attention, by_formula(attention, x, valid, landmarks), x))


@PADDED
@DIRECTIONS
def test_rotary_positions_turn_both_projections(padded: bool, causal: bool) -> None:
    attention = layer({"positions": "rotary", "causal": causal}, window=4, n_landmarks=1)
    x, valid = hidden().requires_grad_(), ragged() if padded else None
    found = passes(attention, attention(x, Context(valid, marks())).hidden, x)
    assert_equal(found, passes(attention, by_formula(attention, x, valid, marks()), x))


@pytest.mark.parametrize("length", [1, 2, 3, 5])
@DIRECTIONS
def test_sequences_may_be_shorter_than_window_and_dilation(length: int, causal: bool) -> None:
    attention = layer({"causal": causal}, window=6, dilation=((4, 1),), n_landmarks=3)
    x = hidden(2, length).requires_grad_()
    found = passes(attention, attention(x, Context()).hidden, x)
    assert_equal(found, passes(attention, by_formula(attention, x, None, None), x))


def naive_like(attention: LongformerAttention, projections: Tensor) -> NaiveAttention:
    """Full attention with `projections` (3 D, D) and the layer's output projection."""
    causal = attention.pattern.causal
    full = NaiveAttention(ModelShape(d_model=8, n_heads=H, max_length=32, causal=causal), 0.0).double().eval()
    full.load_state_dict({"project_in.weight": projections, "project_out.weight": attention.project_out.weight})
    return full


@DIRECTIONS
@PADDED
def test_g1_a_window_beyond_both_ends_is_full_attention(causal: bool, padded: bool) -> None:
    """G1: window 2 n, more than the longest input may have, which is allowed."""
    attention = layer({"causal": causal, "max_length": T}, window=2 * T)
    x, valid = hidden(), ragged() if padded else None
    found, expected = (
        module(x, Context(valid)).hidden for module in (attention, naive_like(attention, attention.project_in.weight))
    )
    counts = torch.ones(3, T, dtype=torch.bool) if valid is None else valid
    torch.testing.assert_close(found[counts], expected[counts], rtol=0, atol=EXACT)


@DIRECTIONS
@PADDED
@pytest.mark.parametrize("how", ["landmarks", "n_landmarks"])
def test_g3_all_tokens_global_is_full_attention_with_global_projections(causal: bool, padded: bool, how: str) -> None:
    """G3: singled out by the task, or all of them by the option."""
    attention = layer({"causal": causal}, window=2, n_landmarks=T if how == "n_landmarks" else 0)
    landmarks = torch.ones(3, T, dtype=torch.bool) if how == "landmarks" else None
    x, valid = hidden(), ragged() if padded else None
    found = attention(x, Context(valid, landmarks)).hidden
    expected = naive_like(attention, attention.project_globally.weight)(x, Context(valid)).hidden
    counts = torch.ones(3, T, dtype=torch.bool) if valid is None else valid
    torch.testing.assert_close(found[counts], expected[counts], rtol=0, atol=EXACT)


@DIRECTIONS
def test_g4_at_first_it_is_masked_attention_with_one_projection(causal: bool) -> None:
    """G4: global projections begin equal to the local ones."""
    attention = layer({"causal": causal}, same=True, window=4, n_landmarks=1)
    assert attention.project_globally is not attention.project_in
    assert torch.equal(attention.project_globally.weight, attention.project_in.weight)
    x, places = hidden(), torch.arange(T)
    distance = places[:, None] - places
    allowed = ((distance >= 0) & (distance <= 4)) if causal else distance.abs() <= 2
    allowed = allowed | (places == 0) | (places == 0)[:, None]
    allowed = allowed & (distance >= 0) if causal else allowed
    query, key, value = (x @ attention.project_in.weight.mT).view(3, T, 3, H, 4).permute(2, 0, 3, 1, 4)
    scores = (query @ key.mT / 2).masked_fill(~allowed, -torch.inf)
    expected = attention.project_out((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x, Context()).hidden, expected, rtol=0, atol=EXACT)


@DIRECTIONS
def test_g5_layers_see_as_far_as_their_windows_together(causal: bool) -> None:
    """G5: on each side the sum over layers of the largest dilation times half the window; causal, of all of it."""
    windows, dilations = (2, 4, 2), (1, (1, 2), 3)
    steps = [w if causal else w // 2 for w in windows]
    reach = steps[0] * 1 + steps[1] * 2 + steps[2] * 3
    model = stack({"n_layers": 3, "causal": causal, "max_length": 64}, window=windows, dilation=dilations)
    x, place = hidden(1, 2 * reach + 5), reach + 2
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(model(x).hidden[0, place].sin().sum(), x)
    seen = gradient[0].any(-1).nonzero().squeeze(-1)
    assert seen.min() == place - reach
    assert seen.max() == (place if causal else place + reach)


@DIRECTIONS
@pytest.mark.parametrize("dilation", [2, 3])
def test_g6_a_dilated_window_is_a_plain_one_among_equal_residues(causal: bool, dilation: int) -> None:
    """G6: each residue class by itself, as a sequence of its own, without dilation."""
    dilated, plain = (layer({"causal": causal}, window=4, dilation=d) for d in (dilation, 1))
    x = hidden()
    found = dilated(x, Context()).hidden
    for residue in range(dilation):
        expected = plain(x[:, residue::dilation], Context()).hidden
        torch.testing.assert_close(found[:, residue::dilation], expected, rtol=0, atol=EXACT)


def test_g7_global_projections_learn_if_and_only_if_a_token_is_global() -> None:
    """G7: none, none but padding, the task's, and the option's."""
    padding = ~ragged()
    for n_landmarks, marked, valid, learns in (
        (0, None, None, False),
        (0, torch.zeros(3, T, dtype=torch.bool), None, False),
        (0, padding, ~padding, False),
        (0, marks(), None, True),
        (1, None, None, True),
    ):
        attention = layer(window=2, n_landmarks=n_landmarks)
        attention(hidden(), Context(valid, marked)).hidden.sin().sum().backward()
        gradient = attention.project_globally.weight.grad
        assert (gradient is not None and all(part.any() for part in gradient.chunk(3))) == learns
        assert attention.project_in.weight.grad is not None


@DIRECTIONS
def test_g8_rows_with_different_numbers_of_globals_do_not_meet(causal: bool) -> None:
    """G8: a batch of rows with two, three and no global tokens against each row alone."""
    attention = layer({"causal": causal}, window=2, dilation=((1, 2),))
    x = hidden()
    together = attention(x, Context(landmarks=marks())).hidden
    for row in range(3):
        alone = attention(x[row : row + 1], Context(landmarks=marks()[row : row + 1])).hidden
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=EXACT)


def test_windows_may_grow_from_layer_to_layer() -> None:
    model = stack({"n_layers": 3}, window=(2, 4, 8), dilation=(1, 1, (1, 2)))
    patterns = [block.attention.pattern for block in model.blocks]  # type: ignore[union-attr]
    assert [pattern.window for pattern in patterns] == [2, 4, 8]  # type: ignore[union-attr]
    assert [pattern.dilations for pattern in patterns] == [(1, 1), (1, 1), (1, 2)]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "greater than or equal to 2"),
        ({"window": 5}, "window must be even, half for either side, got 5; use 6"),
        ({"window": (4, 7)}, "window of layer 1 must be even, half for either side, got 7; use 8"),
        ({"dilation": 0}, "greater than or equal to 1"),
        ({"dilation": ((1, 0),)}, "greater than or equal to 1"),
        ({"n_landmarks": -1}, "greater than or equal to 0"),
        ({"attention_dropout": 1.0}, "less than 1"),
        ({"implementation": "sliding"}, "'auto', 'blocked' or 'flex'"),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LongformerOptions(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": (2, 4, 6)}, r"window must have one entry, or one for each of the 2 layers \(n_layers\), got 3"),
        ({"dilation": (1, 1, 1)}, r"dilation must have one entry, or one for each of the 2 layers \(n_layers\), got 3"),
        (
            {"dilation": ((1, 2, 3),)},
            r"dilation of a layer must be one number, or one for each of the 2 heads \(n_heads\), got 3",
        ),
        ({"n_landmarks": 33}, r"n_landmarks must not exceed max_length \(32\), got 33; lower it"),
        (
            {"implementation": "flex", "attention_dropout": 0.1},
            "implementation: flex cannot drop weights, got attention_dropout 0.1; set it to 0",
        ),
    ],
    ids=str,
)
def test_options_that_do_not_fit_the_shape_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stack({"n_layers": 2}, **options)


def test_state_dicts_hold_global_projections_only_where_there_are_any() -> None:
    own, shared = layer(window=2), layer(window=2, global_projections=False)
    assert {name: tuple(x.shape) for name, x in own.state_dict().items()} == {
        "project_in.weight": (24, 8),
        "project_out.weight": (8, 8),
        "project_globally.weight": (24, 8),
    }
    assert len(list(shared.parameters())) == 2
    other = layer(window=2, same=True)
    other.load_state_dict(own.state_dict())
    x = hidden()
    assert torch.equal(other(x, Context(landmarks=marks())).hidden, own(x, Context(landmarks=marks())).hidden)


def test_the_hook_registers_the_variant() -> None:
    assert list(register_variants()) == [LONGFORMER]
