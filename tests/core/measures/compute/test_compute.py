"""FLOPs and parameters are those that are known beforehand, and a variant's formula is near the count."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attention_arena.catalogue import load_catalogue
from attention_arena.flop_counter import count_flops
from attention_arena.layers import Attention, HeadAttention
from attention_arena.measure import Contender, Subject
from attention_arena.measures import FLOPS, PARAMETERS, count_parameters
from attention_arena.measures.compute.flops import count_inference, count_training
from attention_arena.measures.compute.formula import flops_by_formula
from attention_arena.model import build_model, model_shape
from attention_arena.objectives import Classification, LanguageModeling, Matching
from attention_arena.study.fit import try_build
from attention_arena.task import Objective, TaskNeeds
from attention_arena.variant import Capability, Context, ModelSettings, ModelShape, Variant
from tests.core.measures.toys import LENGTH, SETTINGS, VOCABULARY, Nothing, OutOfMemoryBeyond, measured, subject_of

TOLERANCE = 0.1
"""Of a formula for all layers, relative to the count; the contract suite allows 15 % of attention alone."""
FEED_FORWARD, HEAD = 2 * 2 * 8 * 16, 2 * 8 * VOCABULARY


@cache
def variants() -> dict[str, Variant]:
    catalogue = load_catalogue(kinds=("variant",))
    return {name: catalogue.variant(name) for name in catalogue.variants}


class Naive(HeadAttention):
    """Softmax attention that holds all weights."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        return (query @ key.transpose(2, 3)).softmax(dim=-1) @ value


class NaiveOnPaper(Naive):
    """Softmax attention for which no real device has the memory."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        if query.device.type != "meta":
            raise torch.OutOfMemoryError("no memory")
        return super().attend(query, key, value, context)


def with_heads(kind: Callable[[ModelShape], Attention]) -> Subject:
    return subject_of(lambda: kind(ModelShape(**SETTINGS.model_dump(), max_length=LENGTH)))


def of_variant(variant: Variant, options: dict[str, Any], objective: Objective, length: int) -> Subject:
    """Return a run of a variant at a width where its products outweigh what has no formula."""
    chosen = variant.options(**options)
    needs = TaskNeeds(frozenset(), length, objective.causal)
    settings = try_build(variant, chosen, ModelSettings(d_model=64, n_heads=2, n_layers=2, d_ff=128), needs).model
    subject = subject_of(objective=objective, pairs=isinstance(objective, Matching))
    contender = Contender(
        variant.name, variant, chosen, settings, lambda n: build_model(variant, chosen, settings, subject.data, n)
    )
    return replace(subject, contender=contender)


class TestCount:
    def test_that_of_a_linear_map_is_exact(self) -> None:
        layer, x = nn.Linear(32, 48), torch.ones(5, 7, 32)
        assert count_flops(lambda: layer(x)) == 2 * 5 * 7 * 32 * 48

    def test_backward_counts_two_more_products(self) -> None:
        layer, x = nn.Linear(32, 48), torch.ones(5, 32, requires_grad=True)
        assert count_flops(lambda: layer(x).sum().backward()) == 3 * 2 * 5 * 32 * 48

    def test_fused_attention_counts_both_of_its_products(self) -> None:
        heads = torch.ones(2, 3, 16, 8)
        flops = count_flops(lambda: nn.functional.scaled_dot_product_attention(heads, heads, heads))
        assert flops == 2 * (2 * 2 * 3 * 16 * 16 * 8)

    def test_a_backward_that_asks_for_gradients_of_leaves_is_counted(self) -> None:
        """A reversible stack's does, inside a backward."""
        subject = of_variant(variants()["softmax"], {}, LanguageModeling(VOCABULARY), 16)
        settings = subject.contender.settings.model_copy(update={"residual": "reversible"})
        contender = replace(
            subject.contender,
            build=lambda n: build_model(
                subject.contender.variant, subject.contender.options, settings, subject.data, n
            ),
        )
        plain, reversible = count_training(subject, 16), count_training(replace(subject, contender=contender), 16)
        # Forward once more, and backward twice as much as forward.
        assert reversible.encoder == plain.encoder * 4 / 3
        assert reversible.head == plain.head


class TestFlops:
    def test_rows_are_per_token(self) -> None:
        inference, training = measured(FLOPS, subject_of(), lengths=[20])
        assert (inference.phase, inference.value) == ("inference", FEED_FORWARD + HEAD)
        assert (training.phase, training.value) == ("training", 3 * (FEED_FORWARD + HEAD))
        assert (inference.unit, inference.length, inference.higher_is_better) == ("FLOPs", 20, False)

    def test_the_default_length_is_the_tasks_own(self) -> None:
        assert {row.length for row in measured(FLOPS, subject_of())} == {LENGTH}

    def test_the_count_is_of_shapes_alone_where_memory_is_short(self) -> None:
        for count in (count_inference, count_training):
            assert count(with_heads(NaiveOnPaper), LENGTH) == count(with_heads(Naive), LENGTH)

    def test_a_length_beyond_memory_on_any_device_is_a_row_with_its_reason(self) -> None:
        rows = measured(FLOPS, subject_of(OutOfMemoryBeyond), lengths=[16, 17])
        assert [(row.length, row.status) for row in rows] == [(16, "done")] * 2 + [(17, "oom")] * 2

    def test_a_length_that_the_model_refuses_is_a_reason_too(self) -> None:
        subject = subject_of()

        def build(length: int) -> nn.Module:
            raise ValueError(f"rank must not exceed max_length ({length}), got 64")

        rows = measured(FLOPS, replace(subject, contender=replace(subject.contender, build=build)))
        assert {(row.status, row.detail) for row in rows} == {
            ("unsupported", "rank must not exceed max_length (32), got 64")
        }


class TestFormula:
    @pytest.mark.parametrize("name", sorted(variants()))
    def test_it_is_near_the_count_for_every_variant_and_direction(self, name: str) -> None:
        variant = variants()[name]
        if variant.cost is None:
            pytest.skip(f"{name} states no cost")
        directions = {Capability.BIDIRECTIONAL: Classification(3), Capability.CAUSAL: LanguageModeling(VOCABULARY)}
        for capability, objective in directions.items():
            for options in variant.check_options if capability in variant.supports else ():
                subject = of_variant(variant, dict(options), objective, 128)
                counted, stated = count_inference(subject, 128).encoder, flops_by_formula(subject, 128)
                assert stated == pytest.approx(counted, rel=TOLERANCE), (options, capability)

    @pytest.mark.parametrize("pooling", ["mean", "cls"])
    def test_that_of_plain_softmax_is_exact_for_pairs_too(self, pooling: str) -> None:
        subject = of_variant(variants()["softmax"], {}, Matching(), 24)
        settings = ModelSettings(d_model=16, n_heads=2, n_layers=3, d_ff=32, pooling=pooling)  # type: ignore[arg-type]
        contender = subject.contender
        contender = replace(
            contender,
            settings=settings,
            build=lambda n: build_model(contender.variant, contender.options, settings, subject.data, n),
        )
        subject = replace(subject, contender=contender)
        assert flops_by_formula(subject, 24) == count_inference(subject, 24).encoder
        assert model_shape(settings, 24, Matching()).max_length == 24 + (pooling == "cls")

    def test_its_row_counts_the_head_as_the_count_does(self) -> None:
        subject = of_variant(variants()["softmax"], {}, LanguageModeling(VOCABULARY), LENGTH)
        rows = {(row.measure, row.phase): row.value for row in measured(FLOPS, subject)}
        assert rows["flops_per_token_by_formula", "inference"] == rows["flops_per_token", "inference"]

    def test_a_variant_without_a_formula_has_no_row(self) -> None:
        assert {row.measure for row in measured(FLOPS, subject_of(Nothing))} == {"flops_per_token"}


class TestParameters:
    def test_parts_add_up_to_the_total(self) -> None:
        model = subject_of().trained
        counts = count_parameters(model)
        assert counts["total"] == sum(parameter.numel() for parameter in model.parameters())
        assert counts["embedding"] == VOCABULARY * 8 + 32 * 8
        assert counts["head"] == VOCABULARY * 8 + VOCABULARY
        assert counts["backbone"] == (8 * 16 + 16) + (16 * 8 + 8) + 3 * 16

    def test_a_tied_weight_counts_once_and_for_the_embedding(self) -> None:
        counts = count_parameters(subject_of(objective=LanguageModeling(VOCABULARY, tied=True)).trained)
        assert (counts["embedding"], counts["head"]) == (VOCABULARY * 8 + 32 * 8, VOCABULARY)

    def test_rows_name_their_part(self) -> None:
        rows = measured(PARAMETERS, subject_of())
        assert [row.phase for row in rows] == ["total", "embedding", "backbone", "head"]
        assert rows[0].value == sum(row.value or 0 for row in rows[1:])
