"""Influence by distance is zero where nothing passes, the Jacobian where it is known, and all there is in total."""

from functools import partial

import pytest
import torch
from torch import Tensor

from attention_arena.measure import Measurement, Subject
from attention_arena.measures.diagnostics.receptive_field import (
    ReceptiveFieldOptions,
    bin_ends,
    by_distance,
    choose_queries,
    encode,
    influences,
    measure_receptive_field,
    shares_of,
)
from attention_arena.task import Batch
from tests.core.measures.diagnostics.probe_toys import (
    LENGTH,
    Banded,
    Given,
    Nothing,
    Summing,
    subject_over,
    tokens_of,
)

EVERYWHERE = LENGTH


def measured(subject: Subject, **options: int) -> list[Measurement]:
    return list(measure_receptive_field(ReceptiveFieldOptions(**options), subject))


def influence_on(subject: Subject, batch: Batch, query: int) -> Tensor:
    encoded = encode(subject.trained, batch)
    queries = torch.full((len(encoded.embedded),), query)
    return influences(encoded, queries, torch.Generator().manual_seed(0))


class TestInfluence:
    @pytest.mark.parametrize("residual", ["plain", "checkpointed", "reversible"])
    @pytest.mark.parametrize("n_layers", [1, 2])
    def test_a_band_reaches_its_width_in_every_layer_and_not_a_token_further(
        self, n_layers: int, residual: str
    ) -> None:
        tokens = tokens_of(3, LENGTH)
        subject = subject_over(Given(tokens), partial(Banded, 2), n_layers=n_layers, residual=residual)
        found = influence_on(subject, Batch(tokens, tokens[:, 0]), 6)
        near = (torch.arange(LENGTH) - 6).abs() <= 2 * n_layers
        assert (found[:, near] > 0).all()
        assert (found[:, ~near] == 0).all()

    def test_attention_to_all_reaches_all(self) -> None:
        tokens = tokens_of(3, LENGTH)
        subject = subject_over(Given(tokens), partial(Banded, EVERYWHERE))
        assert (influence_on(subject, Batch(tokens, tokens[:, 0]), 0) > 0).all()

    def test_a_causal_model_is_moved_by_what_came_before(self) -> None:
        tokens = tokens_of(3, LENGTH)
        subject = subject_over(Given(tokens), partial(Banded, EVERYWHERE, causal=True), causal=True)
        found = influence_on(subject, Batch(tokens, tokens[:, 0]), 5)
        assert (found[:, :6] > 0).all()
        assert (found[:, 6:] == 0).all()

    def test_padding_has_none_even_where_a_backbone_reads_it(self) -> None:
        tokens, valid = tokens_of(3, LENGTH), torch.arange(LENGTH).expand(3, -1) >= 5
        found = influence_on(
            subject_over(Given(tokens, valid), backbone=Summing()), Batch(tokens, tokens[:, 0], valid), 9
        )
        assert (found[:, 5:10] > 0).all()
        assert (found[:, :5] == 0).all()

    def test_its_root_mean_square_over_projections_is_the_jacobians_norm(self) -> None:
        tokens = tokens_of(1, LENGTH)
        model = subject_over(Given(tokens), partial(Banded, EVERYWHERE)).trained
        encoded = encode(model, Batch(tokens, tokens[:, 0]))
        generator = torch.Generator().manual_seed(0)
        queries = torch.tensor([4])
        squares = torch.stack([influences(encoded, queries, generator).square() for _ in range(400)]).mean(0)
        rows = [
            torch.autograd.grad(encoded.hidden[0, 4, channel], encoded.embedded, retain_graph=True)[0][0]
            for channel in range(8)
        ]
        exact = torch.stack(rows).square().sum((0, 2))
        # 400 draws of a mean of squares are good to a tenth.
        torch.testing.assert_close(squares[0], exact, rtol=0.25, atol=0.0)

    def test_the_model_is_left_as_it_was(self) -> None:
        tokens = tokens_of(3, LENGTH)
        model = subject_over(Given(tokens), partial(Banded, 2)).trained
        encode(model, Batch(tokens, tokens[:, 0]))
        assert model.training
        assert all(parameter.grad is None for parameter in model.parameters())
        assert not model.get_submodule("backbone")._forward_pre_hooks


class TestPlaces:
    def test_queries_are_spread_over_real_tokens(self) -> None:
        valid = torch.arange(9) < torch.tensor([[9], [5], [1], [0]])
        assert choose_queries(valid, 3, causal=False).T.tolist() == [[8, 4, 0], [4, 2, 0], [0, 0, 0], [0, 0, 0]]

    def test_those_of_a_causal_model_have_something_behind_them(self) -> None:
        valid = torch.arange(9) < torch.tensor([[9], [5]])
        assert choose_queries(valid, 3, causal=True).T.tolist() == [[8, 6, 4], [4, 3, 2]]

    def test_one_query_is_the_last_token(self) -> None:
        assert choose_queries(torch.ones(1, 9, dtype=torch.bool), 1, causal=False).tolist() == [[8]]

    def test_bins_end_at_powers_of_two_and_at_the_furthest(self) -> None:
        assert [bin_ends(n) for n in (1, 2, 3, 9, 12)] == [
            [0],
            [0, 1],
            [0, 1, 2],
            [0, 1, 2, 4, 8],
            [0, 1, 2, 4, 8, 11],
        ]

    def test_both_directions_add_up(self) -> None:
        influence = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
        assert by_distance(influence, torch.tensor([1])).tolist() == [[0.2, 0.4, 0.4, 0.0]]

    def test_a_row_that_nothing_moves_is_zero(self) -> None:
        assert by_distance(torch.zeros(1, 3), torch.tensor([1])).tolist() == [[0.0, 0.0, 0.0]]


class TestRows:
    def test_without_attention_all_influence_is_the_tokens_own(self) -> None:
        rows = measured(subject_over(Given(tokens_of(5, LENGTH)), Nothing))
        within = {row.position: row.value for row in rows if row.phase == "within" and row.position is not None}
        assert within == dict.fromkeys([0, 1, 2, 4, 8, 11], 1.0)
        distance = rows[-1]
        assert (distance.measure, distance.value, distance.unit, distance.samples) == (
            "receptive_field_distance",
            0.0,
            "tokens",
            5,
        )

    def test_the_shares_of_the_bins_add_up_to_those_within(self) -> None:
        rows = measured(subject_over(Given(tokens_of(6, LENGTH)), partial(Banded, 3)), examples=5)
        field = [row for row in rows if row.measure == "receptive_field"]
        within, at = ([row for row in field if row.phase == phase] for phase in ("within", "at"))
        assert [row.position for row in within] == [row.position for row in at] == [0, 1, 2, 4, 8, 11]
        total = 0.0
        for inside, of_bin in zip(within, at, strict=True):
            assert inside.value is not None
            assert of_bin.value is not None
            total += of_bin.value
            assert total == pytest.approx(inside.value)
            assert inside.low is not None
            assert inside.high is not None
            assert 0 <= inside.low <= inside.value <= inside.high + 1e-12 <= 1 + 1e-9
            assert inside.samples == 5
        assert total == pytest.approx(1.0)

    def test_the_distance_holds_nine_tenths(self) -> None:
        subject = subject_over(Given(tokens_of(5, LENGTH)), partial(Banded, EVERYWHERE))
        within = shares_of(subject, examples=5, positions=2).cumsum(1)
        expected = [next(d for d, share in enumerate(row) if share >= 0.9) for row in within.tolist()]
        assert measured(subject, positions=2)[-1].value == pytest.approx(sum(expected) / 5)

    def test_both_sequences_of_a_pair_count(self) -> None:
        assert measured(subject_over(Given(tokens_of(3, 2, LENGTH)), Nothing))[-1].samples == 6

    def test_sequences_of_padding_alone_do_not(self) -> None:
        valid = torch.arange(LENGTH).expand(4, -1) < torch.tensor([[12], [0], [3], [0]])
        assert measured(subject_over(Given(tokens_of(4, LENGTH), valid), partial(Banded, 2)))[-1].samples == 2

    def test_a_backbone_without_attention_has_a_field_too(self) -> None:
        rows = measured(subject_over(Given(tokens_of(3, LENGTH)), backbone=Summing()), positions=1)
        within = [row.value for row in rows if row.phase == "within" and row.position is not None]
        assert within == pytest.approx([1 / 12, 2 / 12, 3 / 12, 5 / 12, 9 / 12, 1.0])
