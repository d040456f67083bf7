"""Relative positions, their parameters, and the options that rule them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from attention_arena.variant import ModelShape
from attention_arena_variants.transformer_xl import TransformerXLOptions, build
from attention_arena_variants.transformer_xl.relative import (
    QueryBiases,
    RelativeTerms,
    ShawTerms,
    XLTerms,
    distances,
    shift,
)
from attention_arena_variants.transformer_xl.segments import SegmentStack
from tests.plugins.transformer_xl_stacks import D_MODEL, EXACT, attention_of, backbone, difference, text

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


def terms_of(stack: SegmentStack, layer: int = 0) -> RelativeTerms:
    terms = attention_of(stack, layer).terms
    assert terms is not None
    return terms


def biases_of(stack: SegmentStack, layer: int) -> QueryBiases:
    terms = terms_of(stack, layer)
    assert isinstance(terms, XLTerms)
    return terms.biases


@pytest.mark.parametrize("T", [1, 5])
@pytest.mark.parametrize("M", [0, 3, 7])
@pytest.mark.parametrize("causal", [True, False])
def test_t4_the_shift_puts_each_distance_under_its_key(T: int, M: int, causal: bool) -> None:
    steps = distances(T, M + T, causal, torch.device("cpu")).tolist()
    scores = text(2, T)[..., :1].repeat(1, 1, len(steps)) + torch.arange(len(steps)) * 100.0
    shifted = shift(scores, M + T)
    for i in range(T):
        for j in range(M + T):
            if not causal or j <= M + i:
                assert torch.equal(shifted[:, i, j], scores[:, i, steps.index(M + i - j)])


def test_t4_the_shift_refuses_scores_without_the_spare_distance() -> None:
    with pytest.raises(ValueError, match=r"more distances than keys \(5\), got 5"):
        shift(torch.zeros(2, 3, 5), 5)


@pytest.mark.parametrize("encoding", ["rel_xl", "rel_shaw"])
@pytest.mark.parametrize("causal", [True, False])
def test_clamping_gives_far_distances_the_vector_of_one_at_evaluation_only(encoding: str, causal: bool) -> None:
    free, clamped = (terms_of(backbone(causal, encoding=encoding, clamp_length=clamp)) for clamp in (None, 3))
    steps = distances(12, 12, causal, torch.device("cpu"))

    def vectors(terms: RelativeTerms) -> Tensor:
        return terms.positions(12, 12, torch.float64, steps.device).vectors

    expected = free.vectors(steps.clamp(-3, 3), 12, torch.float64).expand(2, -1, -1)
    assert torch.equal(vectors(clamped), expected)
    assert difference(vectors(clamped), vectors(free)) > 1e-3
    assert torch.equal(vectors(clamped.train()), vectors(free))


def test_tied_biases_are_one_pair_for_all_layers_and_receive_the_gradient_of_all() -> None:
    tied, untied = backbone(tie_uv=True), backbone()
    pair = 2 * D_MODEL
    assert sum(p.numel() for p in untied.parameters()) - sum(p.numel() for p in tied.parameters()) == pair
    assert biases_of(tied, 0) is biases_of(tied, 1)
    untied.load_state_dict(tied.state_dict())
    x = text(2, 6)
    for stack in (tied, untied):
        stack(x).hidden.sin().sum().backward()
    for name in ("content", "position"):
        summed = sum(getattr(biases_of(untied, layer), name).grad for layer in range(2))
        assert difference(getattr(biases_of(tied, 0), name).grad, summed) < EXACT


def test_learned_distances_beyond_the_table_reuse_the_outermost_vector() -> None:
    """Training meets distances up to 4, two in the segment of 3 and two more in memory; this asks for 8 down to -1."""
    terms = terms_of(backbone(encoding="rel_shaw", memory=2, shape={"max_length": 3}))
    assert isinstance(terms, ShawTerms)
    assert terms.table.shape == (5, D_MODEL // 2)
    vectors = terms.positions(1, 9, torch.float64, torch.device("cpu")).vectors
    assert torch.equal(vectors[..., :4], vectors[..., 4:5].expand(-1, -1, 4))
    assert torch.equal(vectors[..., 4:9].mT, terms.table.flip(0).expand(2, -1, -1))


def test_learned_distances_after_the_query_have_vectors_of_their_own_in_bidirectional_attention() -> None:
    terms = terms_of(backbone(causal=False, encoding="rel_shaw", memory=2, shape={"max_length": 3}))
    assert isinstance(terms, ShawTerms)
    assert terms.table.shape == (7, D_MODEL // 2)
    vectors = terms.positions(3, 5, torch.float64, torch.device("cpu")).vectors  # distances 4 down to -3
    assert torch.equal(vectors[..., :7].mT, terms.table.flip(0).expand(2, -1, -1))


def test_absolute_positions_count_from_zero_in_every_segment() -> None:
    stack = backbone(encoding="abs", memory=0, segment_length=3)
    hidden = stack(text(1, 3).repeat(1, 2, 1)).hidden
    assert difference(hidden[:, :3], hidden[:, 3:]) < EXACT
    same = stack(text(1, 1).repeat(1, 3, 1)).hidden
    assert difference(same[:, 0], same[:, 2]) > 1e-3


def test_projections_and_biases_start_small_and_without_additive_terms() -> None:
    torch.manual_seed(0)
    shape = ModelShape(d_model=64, n_heads=2, n_layers=2, max_length=8, causal=True)
    built = build(TransformerXLOptions(), shape)
    assert isinstance(built, SegmentStack)
    attention = attention_of(built)
    assert not [name for name, _ in attention.named_parameters() if name.endswith(".bias")]
    for parameter in attention.parameters():
        # 64 numbers in the smallest: their deviation is within 30 % of the true one.
        assert parameter.std().item() == pytest.approx(0.02, rel=0.3)


@pytest.mark.parametrize(
    "options",
    [
        {"same_length": True, "memory": 0},
        {"same_length": True, "eval_memory": 0},
        {"encoding": "abs", "clamp_length": 4},
        {"encoding": "abs", "tie_uv": True},
        {"encoding": "rel_shaw", "tie_uv": True},
        {"memory": -1},
        {"segment_length": 0},
    ],
)
def test_options_that_cannot_be_are_refused(options: Any) -> None:
    with pytest.raises(ValidationError):
        TransformerXLOptions(**options)
