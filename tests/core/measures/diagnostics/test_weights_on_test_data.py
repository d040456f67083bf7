"""What the diagnostics of attention weights read off a model on its task's test split."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from attention_arena.catalogue import load_catalogue
from attention_arena.layers import Attention, HeadAttention
from attention_arena.measure import Measurement, Subject
from attention_arena.measures.diagnostics.attended import SequencesOptions, attended, first_batches
from attention_arena.measures.diagnostics.maps import MAPS
from attention_arena.measures.diagnostics.span import SPAN
from attention_arena.measures.diagnostics.sparsity import SPARSITY
from attention_arena.measures.diagnostics.spectrum import SPECTRUM
from attention_arena.model import build_model
from attention_arena.objectives import Classification, LanguageModeling, Matching
from attention_arena.splits import ExampleSplit, StreamSplit
from attention_arena.task import Batch, Objective, Split
from attention_arena.variant import Backbone, BackboneOutput, Context, ModelSettings, ModelShape
from tests.core.measures.toys import CPU, LENGTH, SETTINGS, VOCABULARY, Nothing, measured, subject_of

MEASURES = {measure.name: measure for measure in (MAPS, SPARSITY, SPAN, SPECTRUM)}
LENGTHS = (20, 32, 9, 25, 12)


class Uniform(HeadAttention):
    """Equal weights on all real keys, or on those up to the query."""

    def __init__(self, causal: bool = True) -> None:
        super().__init__(ModelShape(**SETTINGS.model_dump(), max_length=LENGTH, causal=causal))
        self.causal = causal

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        real = torch.ones(value.shape[::2]) if context.valid is None else context.valid.to(value)
        weights = real[:, None, None, :].expand(-1, -1, value.shape[2], -1)
        weights = weights.tril() if self.causal else weights
        return weights / weights.sum(-1, keepdim=True) @ value


class Relu(Uniform):
    """No weighted sum of values."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        return value.relu()


def examples(pad_to: int | None = None) -> ExampleSplit:
    offsets = numpy.cumsum([0, *LENGTHS])
    tokens = numpy.arange(offsets[-1]) % VOCABULARY
    return ExampleSplit(tokens, offsets, numpy.zeros(len(LENGTHS), dtype=numpy.int64), pad_to)


def subject(
    attention: Callable[[], Attention] = Uniform, split: Split | None = None, objective: Objective | None = None
) -> Subject:
    made = subject_of(attention, objective)
    return replace(made, data=replace(made.data, test=split or examples()))


def options(n: int = 4, longest: int = 512) -> SequencesOptions:
    return SequencesOptions(examples=n, max_length=longest)


def only(rows: Sequence[Measurement], **fields: Any) -> list[Measurement]:
    return [row for row in rows if all(getattr(row, name) == value for name, value in fields.items())]


class TestSequences:
    @pytest.mark.parametrize("pad_to", [None, 32], ids=["as long as it is", "padded"])
    def test_padding_is_no_key_and_no_query(self, pad_to: int | None) -> None:
        batches = first_batches(examples(pad_to), options(), CPU)
        found = list(attended(subject().trained, batches))
        assert [each.mass.shape for each in found] == [(1, 2, n, n) for n in LENGTHS[:4]]
        for each in found:
            expected = torch.ones(each.mass.shape[-2:]).tril()
            torch.testing.assert_close(each.mass[0, 1], expected / expected.sum(-1, keepdim=True))

    def test_long_sequences_are_cut(self) -> None:
        batches = first_batches(examples(), options(longest=10), CPU)
        assert [batch.tokens.shape[-1] for batch in batches] == [10, 10, 9, 10]

    def test_both_sequences_of_a_pair_are_looked_at(self) -> None:
        model = subject_of(lambda: Uniform(causal=False), Matching(2), pairs=True).trained
        valid = torch.arange(8) < torch.tensor([8, 5])[:, None]
        pair = Batch(torch.ones(1, 2, 8, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), valid.unsqueeze(0))
        assert [each.mass.shape[-1] for each in attended(model, [pair])] == [8, 5]

    def test_segments_of_a_stream_continue_the_memory_unless_they_are_cut(self) -> None:
        variant = load_catalogue().variant("transformer_xl")
        made = subject(split=StreamSplit(numpy.arange(100) % VOCABULARY, 8))
        chosen = variant.options.model_validate({"segment_length": 8, "memory": 6})
        model = build_model(variant, chosen, ModelSettings(d_model=8, n_heads=2, n_layers=2), made.data)
        whole = list(attended(model, first_batches(made.data.test, options(3), CPU)))
        assert [each.n_memory for each in whole] == [0, 6, 6]
        assert whole[1].mass.shape == (2, 2, 8, 14)
        torch.testing.assert_close(whole[1].mass.sum(-1), torch.ones(2, 2, 8))
        cut = list(attended(model, first_batches(made.data.test, options(3, longest=7), CPU)))
        assert [each.n_memory for each in cut] == [0, 0, 0]

    def test_the_model_is_in_its_mode_afterwards(self) -> None:
        model = subject().trained.train()
        list(attended(model, first_batches(examples(), options(1), CPU)))
        assert model.training


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize(
    ("attention", "reason"),
    [
        (Nothing, "Nothing does not say its attention weights"),
        (lambda: Relu(), "not one matrix per head times the values"),
    ],
    ids=["says nothing", "is not linear"],
)
def test_attention_without_weights_says_so(name: str, attention: Callable[[], Attention], reason: str) -> None:
    rows = MEASURES[name].run(MEASURES[name].options(), subject(attention))
    assert rows
    for row in rows:
        assert (row.value, row.status) == (None, "unsupported")
        assert row.detail is not None
        assert reason in row.detail


class Recurrent(Backbone):
    """A backbone without attention, or with one that no block calls."""

    def __init__(self, inner: Attention | None = None) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, context: Context = Context()) -> BackboneOutput:  # noqa: B008 - an immutable tuple
        return BackboneOutput(x.cumsum(1))


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("inner", [None, Uniform()], ids=["without attention", "with attention of its own"])
def test_a_backbone_that_is_no_stack_says_so(name: str, inner: Attention | None) -> None:
    made = subject()
    made.trained.backbone = Recurrent(inner)
    rows = MEASURES[name].run(MEASURES[name].options(), made)
    assert {(row.status, row.detail) for row in rows} == {
        ("unsupported", "the backbone is no stack of attention layers, so there are no weights to look at")
    }


class TestRows:
    def test_sparsity_of_equal_weights_is_the_mass_asked_for(self) -> None:
        made = subject(lambda: Uniform(causal=False), objective=Classification(2))
        rows = measured(SPARSITY, made, mass=0.5, examples=3)
        assert [(row.layer, row.head) for row in only(rows, phase="trained")] == [(None, None), (0, 0), (0, 1)]
        expected = sum(100 * -(-n // 2) / n for n in LENGTHS[:3]) / 3
        for row in rows:
            assert row.value == pytest.approx(expected)
            assert row.samples == 3
            assert row.value is not None
            assert row.low is not None
            assert row.high is not None
            assert 0 <= row.low < row.value < row.high <= 100

    def test_span_is_in_tokens_and_in_shares_of_the_length(self) -> None:
        rows = measured(SPAN, subject(), examples=1, mass=0.9)
        tokens, relative = (
            only(rows, measure=name, phase="trained", layer=0, head=0)[0].value
            for name in ("attention_span", "attention_relative_span")
        )
        n = LENGTHS[0]
        # The nearest nine tenths of the keys up to each query.
        expected = sum(-(-9 * seen // 10) - 1 for seen in range(1, n + 1)) / n
        assert tokens == pytest.approx(expected)
        assert relative == pytest.approx(100 * expected / n)

    def test_one_sequence_has_no_interval(self) -> None:
        assert {(row.low, row.high) for row in measured(SPAN, subject(), examples=1)} == {(None, None)}

    def test_the_spectrum_stands_beside_its_references(self) -> None:
        rows = measured(SPECTRUM, subject(), examples=2)
        curve = only(rows, measure="attention_spectrum", layer=0, head=None)
        phases = list(dict.fromkeys(row.phase for row in curve))
        assert phases == [
            "trained",
            "null: random queries and keys",
            "null: random logits",
            "null: shuffled rows",
            "null: uniform",
            "untrained",
        ]
        trained = only(curve, phase="trained")
        assert [row.position for row in trained][-1] == 100
        assert trained[-1].value == pytest.approx(100)
        values = [row.value for row in trained]
        assert values == sorted(values, key=lambda value: value or 0)
        # Weights that are equal already are the uniform reference, and their rows shuffled too.
        for phase in ("null: uniform", "null: shuffled rows", "null: random logits"):
            assert [row.value for row in only(curve, phase=phase)] == pytest.approx(values)
        assert len(only(rows, measure="attention_spectrum", phase="trained", position=25, head=1)) == 1
        assert len(only(rows, measure="attention_rank", phase="trained")) == 3

    def test_the_same_subject_gives_the_same_rows(self) -> None:
        assert measured(SPECTRUM, subject(), examples=2) == measured(SPECTRUM, subject(), examples=2)

    def test_the_untrained_model_is_a_fresh_one(self) -> None:
        made = subject()
        settings = made.contender.settings
        variant = load_catalogue().variant("softmax")

        def build(length: int) -> torch.nn.Module:
            torch.manual_seed(0)
            return build_model(variant, variant.options(), settings, made.data)

        trained = build(LENGTH)
        with torch.no_grad():
            for parameter in trained.parameters():
                parameter.mul_(6.0)
        made = replace(made, trained=trained, contender=replace(made.contender, build=build))
        rows = measured(SPARSITY, made)
        sharp, flat = (only(rows, phase=phase, layer=None)[0].value for phase in ("trained", "untrained"))
        assert sharp is not None
        assert flat is not None
        assert sharp < flat


class TestMaps:
    def test_the_map_of_the_example_asked_for_is_saved(self) -> None:
        saved: dict[str, npt.NDArray[Any]] = {}
        made = replace(subject(), save=saved.__setitem__)
        rows = measured(MAPS, made, example=2)
        assert sorted(saved) == ["attention_map.2.512", "attention_map.2.512.extent"]
        assert saved["attention_map.2.512.extent"].tolist() == [0, LENGTHS[2]]
        expected = torch.ones(9, 9).tril()
        torch.testing.assert_close(
            torch.from_numpy(saved["attention_map.2.512"][0, 1]), expected / expected.sum(-1, keepdim=True)
        )
        entropy = sum(numpy.log2(n) for n in range(1, 10)) / 9
        assert [row.value for row in rows] == pytest.approx([entropy] * 3)

    def test_a_split_with_fewer_examples_gives_its_last(self) -> None:
        saved: dict[str, npt.NDArray[Any]] = {}
        measured(MAPS, replace(subject(), save=saved.__setitem__), example=99)
        assert saved["attention_map.99.512.extent"].tolist() == [0, LENGTHS[-1]]

    def test_without_a_place_to_keep_it_a_map_is_measured_all_the_same(self) -> None:
        assert all(row.value is not None for row in measured(MAPS, subject()))


def test_a_language_model_of_each_variant_is_served() -> None:
    made = subject(split=StreamSplit(numpy.arange(200) % VOCABULARY, 16), objective=LanguageModeling(VOCABULARY))
    for name, given in (("longformer", {"window": 4}), ("reformer", {"bucket_size": 4}), ("performer", {})):
        variant = load_catalogue().variant(name)
        settings = ModelSettings(d_model=8, n_heads=2, n_layers=2)
        model = build_model(variant, variant.options(**given), settings, made.data)
        found = list(attended(model, first_batches(made.data.test, options(2), CPU)))
        assert [each.mass.shape for each in found] == [(2, 2, 16, 16)] * 2
