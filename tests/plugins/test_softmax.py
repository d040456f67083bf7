"""What only softmax attention does: two implementations of one formula."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from attention_arena.layers import HeadAttention
from attention_arena.measures import saved_for_backward
from attention_arena.testing.formula import SIZES, count_layer
from attention_arena.testing.trial import trials
from attention_arena.variant import Context, ModelShape
from attention_arena_variants.softmax import SOFTMAX, SoftmaxOptions, cost, register_variants
from attention_arena_variants.softmax.attention import FusedAttention, NaiveAttention

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")

BOTH = pytest.mark.parametrize("implementation", [FusedAttention, NaiveAttention])
DIRECTIONS = pytest.mark.parametrize("causal", [False, True])


def build(
    implementation: type[FusedAttention | NaiveAttention], causal: bool = False, dropout: float = 0.0, **fields: int
) -> HeadAttention:
    torch.manual_seed(0)
    sizes = {"d_model": 16, "n_heads": 2, "max_length": 64} | fields
    return implementation(ModelShape(causal=causal, **sizes), dropout)


def heads(*shape: int, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    query, key, value = (torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(3))
    return query, key, value


def ragged(B: int, T: int) -> Tensor:
    """Rows of T, T - 2, ... tokens and one of none, the second with a hole."""
    valid = torch.arange(T) < torch.tensor([T, T - 2, 3, 0])[:B, None]
    valid[1, 1] = False
    return valid


@DIRECTIONS
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("T", [1, 7, 12])
def test_v1_fused_and_naive_are_one_function(causal: bool, padded: bool, T: int) -> None:
    context = Context(ragged(4, max(T, 5))[:, :T] if padded else None)
    results = []
    for implementation in (FusedAttention, NaiveAttention):
        query, key, value = (part.requires_grad_() for part in heads(4, 2, T, 8))
        found = build(implementation, causal).attend(query, key, value, context)
        results.append((found, *torch.autograd.grad(found.sin().sum(), [query, key, value])))
    for fused, naive in zip(*results, strict=True):
        torch.testing.assert_close(fused, naive, rtol=0, atol=1e-10)


@BOTH
def test_v2_two_tokens_by_hand(implementation: type[FusedAttention]) -> None:
    """E = 1, scores q_i k_j: the first query weighs 1 : 2, the second 1 : 4, because k_2 - k_1 is ln 2."""
    query = torch.tensor([1.0, 2.0], dtype=torch.float64).view(1, 1, 2, 1)
    key = torch.tensor([0.0, math.log(2)], dtype=torch.float64).view(1, 1, 2, 1)
    value = torch.tensor([30.0, 60.0], dtype=torch.float64).view(1, 1, 2, 1)
    everything = build(implementation).attend(query, key, value, Context())
    assert everything.flatten().tolist() == pytest.approx([(30 + 2 * 60) / 3, (30 + 4 * 60) / 5])
    past = build(implementation, causal=True).attend(query, key, value, Context())
    assert past.flatten().tolist() == pytest.approx([30, (30 + 4 * 60) / 5])
    first_only = build(implementation).attend(query, key, value, Context(torch.tensor([[True, False]])))
    assert first_only.flatten().tolist() == pytest.approx([30, 30])


@BOTH
def test_scores_are_scaled_by_the_root_of_the_head_width(implementation: type[FusedAttention]) -> None:
    query, key, value = heads(1, 1, 2, 16)
    expected = torch.softmax(query @ key.mT / 4, -1) @ value
    torch.testing.assert_close(build(implementation).attend(query, key, value, Context()), expected)


@BOTH
@DIRECTIONS
def test_the_identity_as_value_shows_rows_that_sum_to_one(implementation: type[FusedAttention], causal: bool) -> None:
    query, key, _ = heads(2, 2, 9, 8)
    value = torch.eye(9, dtype=torch.float64).expand(2, 2, 9, 9)
    matrix = build(implementation, causal).attend(query, key, value, Context())
    torch.testing.assert_close(matrix.sum(-1), torch.ones(2, 2, 9, dtype=torch.float64))
    assert not matrix.triu(1).any() or not causal


@BOTH
def test_equal_keys_give_the_mean_of_the_valid_values(implementation: type[FusedAttention]) -> None:
    query, key, value = heads(2, 2, 6, 8)
    valid = ragged(2, 6)
    found = build(implementation).attend(query, key[:, :, :1].expand_as(key), value, Context(valid))
    expected = torch.stack([value[row][:, valid[row]].mean(1, keepdim=True).expand(2, 6, 8) for row in range(2)])
    torch.testing.assert_close(found, expected)


@BOTH
def test_a_row_without_valid_tokens_is_zero(implementation: type[FusedAttention]) -> None:
    found = build(implementation).attend(*heads(4, 2, 6, 8), Context(ragged(4, 6)))
    assert not found[3].any()
    assert found[:3].all()


@BOTH
def test_padding_on_the_left_leaves_early_causal_queries_zero(
    implementation: type[FusedAttention],
) -> None:
    valid = torch.tensor([[False, False, True, True]])
    found = build(implementation, causal=True).attend(*heads(1, 2, 4, 8), Context(valid))
    assert not found[:, :, :2].any()
    assert found[:, :, 2:].all()


@BOTH
def test_permuting_heads_permutes_the_output(implementation: type[FusedAttention]) -> None:
    query, key, value = heads(2, 2, 5, 8)
    attention = build(implementation)
    swapped = attention.attend(query.flip(1), key.flip(1), value.flip(1), Context())
    torch.testing.assert_close(swapped, attention.attend(query, key, value, Context()).flip(1))


@BOTH
def test_attention_dropout_acts_in_training_alone(implementation: type[FusedAttention]) -> None:
    parts = heads(2, 2, 8, 8)
    attention = build(implementation, dropout=0.5)
    plain = build(implementation).attend(*parts, Context())
    assert torch.equal(attention.eval().attend(*parts, Context()), plain)
    torch.manual_seed(0)
    trained = attention.train().attend(*parts, Context())
    assert (trained - plain).abs().max() > 0.1


def test_naive_attention_keeps_the_matrix_and_fused_does_not() -> None:
    kept = {}
    for implementation in (FusedAttention, NaiveAttention):
        attention = build(implementation, max_length=256).float()
        for n in (128, 256):
            forward = partial(attention, torch.randn(1, n, 16), Context())
            kept[implementation.__name__, n] = saved_for_backward(forward, attention.parameters())
    assert 1.8 < kept["FusedAttention", 256] / kept["FusedAttention", 128] < 2.2
    assert 3.5 < kept["NaiveAttention", 256] / kept["NaiveAttention", 128] < 4.1
    assert kept["NaiveAttention", 256] > 2 * 256 * 256 * 4


@BOTH
@DIRECTIONS
def test_bfloat16_stays_bfloat16_and_close_to_float64(implementation: type[FusedAttention], causal: bool) -> None:
    query, key, value = heads(2, 2, 200, 8)
    attention = build(implementation, causal)
    found = attention.attend(query.bfloat16(), key.bfloat16(), value.bfloat16(), Context())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), attention.attend(query, key, value, Context()), rtol=0, atol=2e-2)


@pytest.mark.parametrize("length", [1, 40, 99])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("implementation", ["fused", "naive"])
def test_the_formula_of_cost_is_what_is_counted(implementation: str, dropout: float, length: int) -> None:
    """Exactly, but for the bytes of naive attention: which queries have a key, n of them, and n^2 in whole numbers."""
    options = SoftmaxOptions.model_validate({"implementation": implementation, "attention_dropout": dropout})
    for trial in trials(SOFTMAX, options, **SIZES, max_length=100):
        found, stated = count_layer(trial, length), cost(options, trial.shape, length)
        assert stated.flops == found.flops
        assert 0 <= found.saved_bytes - stated.saved_bytes <= (length + 4 if implementation == "naive" else 0)


def test_options_choose_the_implementation() -> None:
    shape = ModelShape(d_model=16, n_heads=2, n_layers=1, max_length=8)
    for name, kind in (("fused", FusedAttention), ("naive", NaiveAttention)):
        backbone = SOFTMAX.build(SoftmaxOptions.model_validate({"implementation": name}), shape)
        assert isinstance(backbone.blocks[0].attention, kind)  # type: ignore[union-attr, index]


def test_the_hook_registers_the_variant() -> None:
    assert list(register_variants()) == [SOFTMAX]
