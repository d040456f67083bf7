"""What only Linformer does: attention to slots, its fast form, its limits and what it refuses."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from attention_arena.layers import HeadAttention, Stack, half_precision, rotate
from attention_arena.variant import Capability, Context, ModelShape
from attention_arena_variants.linformer import LINFORMER, LinformerOptions, build, register_variants
from attention_arena_variants.linformer.attention import LinformerAttention, attend_plainly
from attention_arena_variants.linformer.projections import LinearProjection
from attention_arena_variants.softmax.attention import NaiveAttention

EXACT = 1e-10
N = 13
"""`max_length` of most models here: odd, and no multiple of any rank."""

SHARING = pytest.mark.parametrize("sharing", ["none", "headwise", "key_value", "layerwise"])
PADDED = pytest.mark.parametrize("padded", [False, True])

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


def stack(shape: dict[str, Any] | None = None, **options: Any) -> Stack:
    """A float64 stack in evaluation mode."""
    torch.manual_seed(0)
    fields = {"d_model": 8, "n_heads": 2, "n_layers": 1, "d_ff": 12, "max_length": N, "positions": "none"}
    backbone = build(LinformerOptions(**options), ModelShape(**(fields | (shape or {}))))
    assert isinstance(backbone, Stack)
    return backbone.double().eval()


def layer(shape: dict[str, Any] | None = None, **options: Any) -> LinformerAttention:
    """The attention of the first layer."""
    attention = stack(shape, **options).blocks[0].attention
    assert isinstance(attention, LinformerAttention)
    return attention


def hidden(B: int, T: int, D: int = 8, seed: int = 1) -> Tensor:
    return torch.randn(B, T, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ragged(B: int, T: int) -> Tensor:
    """Rows of T, T - 2 and 1 tokens and one of none, the second with a hole."""
    valid = torch.arange(T) < torch.tensor([T, T - 2, 1, 0])[:B, None]
    valid[1, 1] = False
    return valid


def heads_of(attention: HeadAttention, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    B, T, D = x.shape
    H = attention.n_heads
    query, key, value = (
        (x @ weight.mT).view(B, T, H, D // H).transpose(1, 2) for weight in attention.project_in.weight.chunk(3)
    )
    return query, key, value


def by_formula(attention: LinformerAttention, x: Tensor, valid: Tensor | None) -> Tensor:
    """The layer in the paper's order: every token through the projections of keys and values, then E and F."""
    query, key, value = heads_of(attention, x)
    if attention.rotary:
        query, key = rotate(query), rotate(key)
    projections = attention.key_projection, attention.value_projection
    assert all(isinstance(projection, LinearProjection) for projection in projections)
    of_key, of_value = (projection.matrix[..., : x.shape[1]] for projection in projections)
    heads = attend_plainly(query, key, value, of_key, of_value, valid)
    return heads.transpose(1, 2).flatten(2) @ attention.project_out.weight.mT


def with_matrices(attention: LinformerAttention, of_key: Tensor, of_value: Tensor) -> LinformerAttention:
    for projection, matrix in ((attention.key_projection, of_key), (attention.value_projection, of_value)):
        with torch.no_grad():
            projection.matrix.copy_(matrix)
    return attention


def naive_like(attention: LinformerAttention) -> NaiveAttention:
    """Full attention with the projections of `attention`."""
    full = NaiveAttention(ModelShape(d_model=8, n_heads=2, max_length=N), 0.0).double().eval()
    full.load_state_dict({name: value for name, value in attention.state_dict().items() if name.startswith("project_")})
    return full


def passes(attention: HeadAttention, found: Tensor, x: Tensor, valid: Tensor | None) -> list[Tensor]:
    """Return the output and the gradients of input and parameters; what padded queries get does not count."""
    seen = found if valid is None else found.masked_fill(~valid[..., None], 0.0)
    return [seen, *torch.autograd.grad(seen.sin().sum(), [x, *attention.parameters()])]


@SHARING
@PADDED
@pytest.mark.parametrize("T", [3, 11, 13])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, EXACT), (torch.float32, 2e-5)], ids=["float64", "float32"]
)
def test_the_layer_is_the_formula(sharing: str, padded: bool, T: int, dtype: torch.dtype, tolerance: float) -> None:
    """Forward and backward, at lengths on both sides of the one (5) from which inputs are shortened first."""
    attention = layer(rank=5, sharing=sharing).to(dtype)
    x = hidden(4, T).to(dtype).requires_grad_()
    valid = ragged(4, T) if padded else None
    found = passes(attention, attention(x, Context(valid)).hidden, x, valid)
    expected = passes(attention, by_formula(attention, x, valid), x, valid)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@SHARING
@PADDED
def test_rotary_positions_turn_keys_before_they_are_mixed(sharing: str, padded: bool) -> None:
    attention = layer({"positions": "rotary"}, rank=5, sharing=sharing)
    x, valid = hidden(4, 11).requires_grad_(), ragged(4, 11) if padded else None
    found = passes(attention, attention(x, Context(valid)).hidden, x, valid)
    expected = passes(attention, by_formula(attention, x, valid), x, valid)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=EXACT)


@PADDED
@pytest.mark.parametrize("projection", ["mean", "max", "convolution"])
@pytest.mark.parametrize("T", [2, 10, 13])
def test_pooled_layers_are_attention_to_their_slots(projection: str, padded: bool, T: int) -> None:
    """The layer against `attend` on keys and values of every token: for the mean two orders, for others one."""
    attention = layer(rank=5, projection=projection)
    x, valid = hidden(4, T).requires_grad_(), ragged(4, T) if padded else None
    heads = attention.attend(*heads_of(attention, x), Context(valid))
    found = passes(attention, attention(x, Context(valid)).hidden, x, valid)
    expected = passes(attention, attention.project_out(heads.transpose(1, 2).flatten(2)), x, valid)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=EXACT)


@pytest.mark.parametrize("order", ["identity", "permutation"])
@pytest.mark.parametrize("masked", [False, True])
def test_l1_as_many_slots_as_tokens_give_full_attention(order: str, masked: bool) -> None:
    """L1: E = F = I, and any permutation; without a mask and with one that hides nothing."""
    places = torch.arange(N) if order == "identity" else torch.randperm(N)
    matrix = torch.eye(N, dtype=torch.float64)[places]
    attention = with_matrices(layer(rank=N), matrix, matrix)
    x = hidden(3, N).requires_grad_()
    valid = torch.ones(3, N, dtype=torch.bool) if masked else None
    found, expected = (module(x, Context(valid)).hidden for module in (attention, naive_like(attention)))
    torch.testing.assert_close(found, expected, rtol=0, atol=EXACT)
    for one, other in zip(*(torch.autograd.grad(y.sin().sum(), x) for y in (found, expected)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=EXACT)


def test_different_orders_of_keys_and_values_are_not_full_attention() -> None:
    matrix = torch.eye(N, dtype=torch.float64)
    attention = with_matrices(layer(rank=N), matrix, matrix.roll(1, 0))
    x = hidden(2, N)
    difference = attention(x, Context()).hidden - naive_like(attention)(x, Context()).hidden
    assert difference.abs().max() > 1e-2


@SHARING
@pytest.mark.parametrize("T", [1, 4, 9])
def test_l2_a_short_input_is_one_with_rows_of_zeros(sharing: str, T: int) -> None:
    """L2: slots of whole numbers, whose sums are exact in any order; then the layer, to rounding."""
    attention = layer(rank=5, sharing=sharing)
    rows = torch.zeros(2, N, 8, dtype=torch.float64)
    rows[:, :T] = torch.randint(-8, 8, (2, T, 8)).double()
    with torch.no_grad():
        attention.key_projection.matrix.copy_(torch.randint(-8, 8, attention.key_projection.matrix.shape))
    assert torch.equal(attention.key_projection(rows[:, :T]), attention.key_projection(rows))
    x = hidden(2, N)
    padded = attention(x, Context(torch.arange(N).expand(2, N) < T)).hidden
    torch.testing.assert_close(padded[:, :T], attention(x[:, :T], Context()).hidden, rtol=0, atol=EXACT)


@pytest.mark.parametrize("projection", ["linear", "mean", "max", "convolution"])
def test_l5_every_output_depends_on_the_future(projection: str) -> None:
    """L5: why there is no causal form. The last token reaches the first output through every kind of slot."""
    attention = layer(rank=5, projection=projection)
    x = hidden(1, N).requires_grad_()
    (gradient,) = torch.autograd.grad(attention(x, Context()).hidden[:, 0].sin().sum(), x)
    assert (gradient[:, 1:] != 0).any(-1).sum() >= N // 2
    assert gradient[:, -1].any()


def test_l6_the_matrix_of_attention_is_close_to_one_of_low_rank() -> None:
    """L6: the error of P V, P cut to its k largest singular values, falls with k and is 0 at k = n."""
    eye = torch.eye(N, dtype=torch.float64)
    attention = with_matrices(layer(rank=N), eye, eye)
    query, key, value = heads_of(attention, 2 * hidden(2, N))
    matrix = attend_plainly(query, key, eye.expand(2, 2, N, N), eye, eye)  # (B, H, N, N)
    torch.testing.assert_close(matrix.sum(-1), torch.ones(2, 2, N, dtype=torch.float64))
    left, sizes, right = torch.linalg.svd(matrix)
    whole = attention.attend(query, key, value, Context())
    errors = [
        torch.linalg.norm(left[..., :k] * sizes[..., None, :k] @ right[..., :k, :] @ value - whole).item()
        for k in range(1, N + 1)
    ]
    assert all(after < before for before, after in itertools.pairwise(errors))
    assert errors[-1] < EXACT


@pytest.mark.parametrize("projection", ["linear", "mean", "max", "convolution"])
def test_a_row_of_padding_gives_zeros_and_finite_gradients(projection: str) -> None:
    attention = layer(rank=5, projection=projection)
    x = hidden(4, 11).requires_grad_()
    found = attention(x, Context(ragged(4, 11))).hidden
    assert not found[3].any()
    assert found[:3].any(-1).any(-1).all()
    (gradient,) = torch.autograd.grad(found.sin().sum(), x)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("projection", ["linear", "mean", "max", "convolution"])
@pytest.mark.parametrize("sharing", ["none", "headwise"])
def test_padding_anywhere_changes_nothing_whatever_it_holds(projection: str, sharing: str) -> None:
    """On the left and in the middle too: valid tokens keep their positions, so no row alone is their equal there."""
    attention = layer(rank=5, projection=projection, sharing=sharing)
    valid = ragged(3, 11)
    valid[0, :4] = False
    x = hidden(3, 11)
    other = torch.where(valid[..., None], x, 1e6 * hidden(3, 11, seed=2))
    found, expected = (attention(tokens, Context(valid)).hidden[valid] for tokens in (other, x))
    torch.testing.assert_close(found, expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize("T", [3, 11])
def test_attention_dropout_acts_in_training_alone(T: int) -> None:
    x = hidden(2, T)
    plain, dropped = layer(rank=5), layer(rank=5, attention_dropout=0.5)
    expected = plain(x, Context()).hidden
    assert torch.equal(dropped(x, Context()).hidden, expected)
    assert (dropped.train()(x, Context()).hidden - expected).abs().max() > 1e-3


@SHARING
@pytest.mark.parametrize("T", [3, 12])
@pytest.mark.parametrize("is_fast", [True, False], ids=["fast products", "slow products"])
def test_autocast_keeps_to_float32(sharing: str, T: int, is_fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 has 8 bits of mantissa, and the layer rounds about five times."""
    monkeypatch.setattr(half_precision, "has_fast_products", lambda dtype, device: is_fast)
    monkeypatch.setattr(half_precision, "NUMBERS_AT_ONCE", 40)
    attention = layer(rank=5, sharing=sharing).float()
    x = hidden(2, T).float().requires_grad_()
    expected = passes(attention, attention(x, Context()).hidden, x, None)
    with torch.autocast("cpu", torch.bfloat16):
        output = attention(x, Context()).hidden
    assert output.dtype == (torch.bfloat16 if is_fast else torch.float32)
    for one, other in zip(passes(attention, output.float(), x, None), expected, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0, atol=2e-2 * max(1.0, other.abs().max().item()))


def test_autocast_leaves_float64_as_it_is() -> None:
    attention, x = layer(rank=5), hidden(2, 12)
    expected = attention(x, Context()).hidden
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(attention(x, Context()).hidden, expected)


@pytest.mark.parametrize("rank", [14, [5, 14], [14, 5]])
def test_a_rank_above_the_longest_input_is_refused(rank: Any) -> None:
    with pytest.raises(ValueError, match=r"rank must not exceed max_length \(13\), got 14; lower the rank, or give"):
        stack({"n_layers": 2}, rank=rank)
    stack({"n_layers": 2}, rank=13)


def test_a_list_of_ranks_must_have_one_for_each_layer() -> None:
    with pytest.raises(ValueError, match=r"n_layers is 2\), got 3: \[5, 4, 3\]"):
        stack({"n_layers": 2}, rank=[5, 4, 3])


@pytest.mark.parametrize("rank", [0, [5, 0], 2.5])
def test_a_rank_is_a_positive_number(rank: Any) -> None:
    with pytest.raises(ValidationError):
        LinformerOptions(rank=rank)


@pytest.mark.parametrize("projection", ["linear", "convolution"])
def test_layers_of_several_ranks_cannot_share_a_projection(projection: Any) -> None:
    with pytest.raises(ValidationError, match=r"one rank, got \[5, 3\]; give one rank, or share inside layers"):
        LinformerOptions(rank=(5, 3), sharing="layerwise", projection=projection)
    LinformerOptions(rank=(5, 5), sharing="layerwise", projection=projection)
    LinformerOptions(rank=(5, 3), sharing="layerwise", projection="mean")


def test_causal_attention_is_refused_with_the_reason() -> None:
    assert Capability.CAUSAL not in LINFORMER.supports
    with pytest.raises(ValueError, match="no causal form, because each slot mixes the whole sequence"):
        stack({"causal": True}, rank=5)


def test_the_hook_registers_the_variant() -> None:
    assert list(register_variants()) == [LINFORMER]
