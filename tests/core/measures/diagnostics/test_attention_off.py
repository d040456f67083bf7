"""Switching attention off changes a score by what attention adds to it, and leaves the model as it was."""

import pytest
import torch

from attention_arena.measure import Measurement, Subject
from attention_arena.measures.diagnostics.attention_off import (
    AttentionOffOptions,
    attention_off,
    measure_attention_off,
    paired_difference,
    score_examples,
)
from attention_arena.objectives import LanguageModeling
from attention_arena.statistics import mean_interval
from tests.core.measures.diagnostics.probe_toys import (
    LENGTH,
    Doubling,
    Given,
    Nothing,
    Summing,
    embed_as_number,
    subject_over,
    tokens_of,
)

TOKENS = tokens_of(6, 1).expand(-1, LENGTH)
"""Six sequences, each of one token over and over."""
NUMBERS = TOKENS[:, 0].double()


def measured(subject: Subject, examples: int = 6) -> list[Measurement]:
    return list(measure_attention_off(AttentionOffOptions(examples=examples), subject))


def doubling(residual: str = "plain", n_layers: int = 3) -> Subject:
    """A model of known height: the token's number, doubled in each layer of a plain stack."""
    subject = subject_over(Given(TOKENS), Doubling, residual=residual, n_layers=n_layers)
    embed_as_number(subject.trained)
    return subject


class TestDifferences:
    def test_attention_that_adds_nothing_is_worth_nothing(self) -> None:
        rows = [row for row in measured(subject_over(Given(TOKENS), Nothing)) if row.measure == "attention_off"]
        assert [(row.phase, row.layer) for row in rows] == [("layer off", 0), ("layer off", 1), ("all off", None)]
        assert all((row.value, row.low, row.high) == (0.0, 0.0, 0.0) for row in rows)

    @pytest.mark.parametrize("residual", ["plain", "checkpointed"])
    def test_a_layer_that_doubles_the_stream_is_worth_half_the_score(self, residual: str) -> None:
        rows = {(row.measure, row.phase, row.layer): row for row in measured(doubling(residual))}
        mean = float(NUMBERS.mean())
        assert rows["attention_off_score", "intact", None].value == pytest.approx(8 * mean)
        for layer in range(3):
            assert rows["attention_off_score", "layer off", layer].value == pytest.approx(4 * mean)
            assert rows["attention_off", "layer off", layer].value == pytest.approx(-4 * mean)
        assert rows["attention_off_score", "all off", None].value == pytest.approx(mean)
        assert rows["attention_off", "all off", None].value == pytest.approx(-7 * mean)

    def test_in_a_reversible_stack_a_layer_is_worth_what_it_adds_to_its_stream(self) -> None:
        """Each layer adds the second stream, the token's number, to the first; the height is the mean of both."""
        rows = {(row.measure, row.phase, row.layer): row for row in measured(doubling("reversible"))}
        mean = float(NUMBERS.mean())
        assert rows["attention_off_score", "intact", None].value == pytest.approx(2.5 * mean)
        for layer in range(3):
            assert rows["attention_off", "layer off", layer].value == pytest.approx(-0.5 * mean)
        assert rows["attention_off", "all off", None].value == pytest.approx(-1.5 * mean)

    def test_the_interval_is_that_of_the_differences_of_examples(self) -> None:
        row = next(row for row in measured(doubling()) if (row.measure, row.layer) == ("attention_off", 1))
        expected = mean_interval((-4 * NUMBERS).tolist())
        assert row.low == pytest.approx(expected.low)
        assert row.high == pytest.approx(expected.high)
        assert row.samples == 6

    def test_as_many_examples_are_scored_as_are_asked_for(self) -> None:
        rows = measured(doubling(), examples=5)
        assert {row.samples for row in rows} == {5}
        assert rows[0].value == pytest.approx(8 * float(NUMBERS[:5].mean()))

    def test_a_backbone_without_attention_says_so(self) -> None:
        rows = measured(subject_over(Given(TOKENS), backbone=Summing()))
        assert {(row.status, row.detail) for row in rows} == {
            ("unsupported", "the backbone of toy is no stack of attention layers to switch off")
        }


class TestPairing:
    def test_what_changes_every_example_alike_has_no_spread(self) -> None:
        objective = doubling().data.objective
        heights = torch.tensor([1.0, 5.0, 9.0]).double()
        intact = {"height": heights, "count": torch.ones(3).double()}
        found = paired_difference(objective, {**intact, "height": heights + 2}, intact)
        assert (found.value, found.low, found.high) == pytest.approx((2.0, 2.0, 2.0))

    def test_a_ratio_of_sums_has_the_spread_of_its_linear_part(self) -> None:
        """Bits per byte over rows of unequal length, 200 of them: within 2 % of the delta method."""
        generator = torch.Generator().manual_seed(0)
        tokens = torch.randint(5, 20, (200,), generator=generator).double()
        nats = torch.rand(200, generator=generator).double() * tokens
        off = nats + torch.rand(200, generator=generator).double() * tokens
        found = paired_difference(
            LanguageModeling(16), {"nats": off, "tokens": tokens}, {"nats": nats, "tokens": tokens}
        )
        bits = (off - nats) / torch.log(torch.tensor(2.0)).double()
        ratio = float(bits.sum() / tokens.sum())
        assert found.value == pytest.approx(ratio)
        assert found.low is not None
        assert found.high is not None
        linear = mean_interval(((bits - ratio * tokens) / tokens.mean()).tolist())
        assert linear.low is not None
        assert linear.high is not None
        assert found.high - found.low == pytest.approx(linear.high - linear.low, rel=0.02)


class TestTheModelStaysWhole:
    def test_outputs_are_the_same_after_the_block(self) -> None:
        subject = doubling()
        before = score_examples(subject, 6)
        with attention_off(subject.trained, [0, 2]):
            off = score_examples(subject, 6)
        assert torch.equal(off["height"], before["height"] / 4)
        assert torch.equal(score_examples(subject, 6)["height"], before["height"])
        assert subject.trained.training
