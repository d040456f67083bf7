"""Perplexity under each protocol equals what is known beforehand, or what plain loops compute."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from attention_arena.catalogue import load_catalogue
from attention_arena.evaluation import evaluate
from attention_arena.measure import Measurement, Subject
from attention_arena.measures import register_measures
from attention_arena.measures.perplexity import PERPLEXITY
from attention_arena.measures.perplexity.by_protocol import time_row
from attention_arena.measures.perplexity.scoring import Scored
from attention_arena.model import SequenceModel, build_model
from attention_arena.objectives import Classification, LanguageModeling, MaskedLanguageModeling
from attention_arena.rows import RowSplit
from attention_arena.splits import StreamSplit, Tokens
from attention_arena.task import Batch, Source, TaskData
from attention_arena.variant import ModelSettings
from tests.core.measures.perplexity.language_toys import (
    GUESSES,
    KNOWS,
    STATEFUL,
    SYMBOLS,
    Repeats,
    noise,
    periodic,
    reading,
)

LENGTH = 16
TEXT = noise(301)


def rows_of(subject: Subject, **options: Any) -> dict[tuple[str, str], Measurement]:
    rows = PERPLEXITY.run(PERPLEXITY.options(**options), subject)
    return {(row.measure, row.phase): row for row in rows}


def real(name: str, text: Tokens = TEXT, batch_size: int = 4, **options: Any) -> Subject:
    """An untrained model of a variant, which reads `text`."""
    variant = load_catalogue(kinds=("variant",)).variant(name)
    split, objective = StreamSplit(text, LENGTH), LanguageModeling(SYMBOLS)
    data = TaskData(SYMBOLS, LENGTH, objective, split, split, split, Source("generated", "none"))
    settings = ModelSettings(d_model=16, n_heads=2, n_layers=2, d_ff=32)
    torch.manual_seed(0)
    model = build_model(variant, variant.options(**options), settings, data)
    # Larger weights than a fresh head's, so that context matters.
    torch.nn.init.normal_(model.head.get_parameter("weight"))
    subject = reading(model, split, LENGTH, batch_size)
    return replace(subject, contender=replace(subject.contender, variant=variant))


def losses(model: torch.nn.Module, window: Tokens) -> torch.Tensor:
    """The nats of every prediction in one window (T + 1,) of text, computed plainly."""
    assert isinstance(model, SequenceModel)
    tokens = torch.from_numpy(window.astype(np.int64))
    with torch.no_grad():
        logits = model.head(model.eval()(Batch(tokens[None, :-1], tokens[None, 1:])).hidden)[0]
    return torch.nn.functional.cross_entropy(logits.double(), tokens[1:], reduction="none")


def test_chunks_equal_each_window_on_its_own() -> None:
    subject = real("softmax")
    expected = torch.cat([losses(subject.trained, TEXT[start : start + LENGTH + 1]) for start in range(0, 300, LENGTH)])
    assert len(expected) == 300
    row = rows_of(subject, protocols=["chunks"])["loss", "chunks"]
    assert row.value == pytest.approx(float(expected.mean()), rel=1e-6)


@pytest.mark.parametrize("stride", [1, 5, 16])
def test_sliding_windows_equal_each_window_on_its_own(stride: int) -> None:
    subject = real("softmax")
    first = losses(subject.trained, TEXT[: LENGTH + 1])
    parts = [first]
    for end in range(LENGTH, 300, stride):
        stop = min(end + stride, 300)
        start = end + stride - LENGTH
        parts.append(losses(subject.trained, TEXT[start : stop + 1])[end - start :])
    expected = torch.cat(parts)
    assert len(expected) == 300
    row = rows_of(subject, protocols=["sliding"], stride=stride)["loss", f"sliding, stride {stride}"]
    assert row.value == pytest.approx(float(expected.mean()), rel=1e-6)


def test_a_stride_of_the_length_equals_chunks() -> None:
    rows = rows_of(real("softmax"), protocols=["chunks", "sliding"], stride=LENGTH)
    assert rows["loss", f"sliding, stride {LENGTH}"].value == rows["loss", "chunks"].value


def test_a_stride_of_one_equals_every_token_on_its_own() -> None:
    subject = real("softmax")
    each = [losses(subject.trained, TEXT[max(0, p + 1 - LENGTH) : p + 2])[-1] for p in range(300)]
    row = rows_of(subject, protocols=["sliding"], stride=1)["loss", "sliding, stride 1"]
    assert row.value == pytest.approx(float(torch.stack(each).mean()), rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_cached_segments_equal_the_evaluation_that_training_reports(batch_size: int) -> None:
    subject = real("transformer_xl", batch_size=batch_size, memory=24)
    assert isinstance(subject.trained, SequenceModel)
    reported = evaluate(subject.trained, subject.data.test, batch_size, subject.device, subject.autocast).metrics
    rows = rows_of(subject, max_tokens=None)
    for metric, value in reported.items():
        assert rows[metric, "cached"].value == pytest.approx(value, rel=1e-6)
    assert rows["loss", "cached"].value != pytest.approx(rows["loss", "chunks"].value, rel=1e-4)


def test_chunks_of_one_row_equal_the_evaluation_that_training_reports() -> None:
    subject = real("softmax", batch_size=1)
    assert isinstance(subject.trained, SequenceModel)
    reported = evaluate(subject.trained, subject.data.test, 1, subject.device, subject.autocast).metrics
    assert rows_of(subject)["bits_per_byte", "chunks"].value == pytest.approx(reported["bits_per_byte"], rel=1e-6)


def test_a_model_that_looks_five_tokens_back_loses_what_the_protocols_hide() -> None:
    subject = reading(Repeats(5, memory=8), periodic(161, 5), LENGTH, batch_size=1, supports=STATEFUL)
    rows = rows_of(subject, stride=[4, 13])
    hidden = {"chunks": 4 * 10, "sliding, stride 4": 4, "sliding, stride 13": 4 + 12, "cached": 4}
    for phase, n_guesses in hidden.items():
        expected = (n_guesses * GUESSES + (160 - n_guesses) * KNOWS) / 160
        assert rows["loss", phase].value == pytest.approx(expected, rel=1e-6), phase
        assert rows["perplexity", phase].value == pytest.approx(math.exp(expected), rel=1e-6)


def test_every_protocol_scores_the_same_tokens() -> None:
    subject = reading(Repeats(3, memory=4), noise(500), LENGTH, supports=STATEFUL)
    rows = rows_of(subject, max_tokens=333, stride=[1, 7])
    quality = [row for (measure, _), row in rows.items() if measure != "evaluation_time"]
    assert len(quality) == 3 * 4
    assert {row.samples for row in quality} == {333}


def test_bits_per_byte_count_the_bytes_of_the_scored_tokens() -> None:
    sizes = np.arange(1, SYMBOLS + 1)
    objective = LanguageModeling(SYMBOLS, unit="word", token_bytes=sizes.tolist())
    model = Repeats(3, memory=4)
    model.objective = objective
    text = noise(400)
    rows = rows_of(reading(model, text, LENGTH, supports=STATEFUL), max_tokens=200, stride=5)
    n_bytes = int(sizes[text[1:201]].sum())
    for phase in ("chunks", "sliding, stride 5", "cached"):
        loss = rows["loss", phase].value
        assert loss is not None
        assert rows["bits_per_byte", phase].value == pytest.approx(200 * loss / math.log(2) / n_bytes, rel=1e-9)


def test_an_interval_holds_its_value_and_narrows_with_more_text() -> None:
    widths = []
    for n in (200, 5000):
        row = rows_of(reading(Repeats(3), noise(n + 1), LENGTH), max_tokens=None)["perplexity", "chunks"]
        assert row.low is not None
        assert row.high is not None
        assert row.value is not None
        assert row.low < row.value < row.high
        widths.append(row.high - row.low)
    assert widths[1] < widths[0] / 2


def test_time_is_stated_per_scored_token_with_its_batch_size() -> None:
    subject = reading(Repeats(3, memory=4), noise(700), LENGTH, supports=STATEFUL)
    rows = rows_of(subject, stride=4, batch_size=2)
    for phase in ("chunks", "sliding, stride 4", "cached"):
        row = rows["evaluation_time", phase]
        assert row.value is not None
        assert row.value > 0
        assert (row.unit, row.batch_size, row.length, row.higher_is_better) == ("ms/token", 2, LENGTH, False)
    assert rows["evaluation_time", "sliding, stride 4"].samples > rows["evaluation_time", "chunks"].samples


def test_time_is_the_median_over_full_readings_but_the_first() -> None:
    def scored(n: int, rows: int, seconds: float) -> Scored:
        return Scored(torch.zeros(n), torch.arange(n), {}, (rows, 16), seconds)

    scores = [scored(40, 4, 9.0), *(scored(8, 4, seconds) for seconds in (0.8, 8.0, 1.6)), scored(3, 1, 90.0)]
    row = time_row(scores, LENGTH, "sliding, stride 2")
    assert (row.value, row.samples) == (pytest.approx(200.0), 3)
    assert time_row(scores[:1], LENGTH, "chunks").value == pytest.approx(225.0)


@pytest.mark.parametrize("stride", [1, 4, 16])
def test_a_smaller_stride_reads_more_tokens_for_the_same_scores(stride: int) -> None:
    model = Repeats(3)
    rows_of(reading(model, noise(16 * 20 + 1), LENGTH), protocols=["sliding"], stride=stride)
    assert sum(model.seen) == 16 * (1 + 16 * 19 // stride)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_in_its_mode(training: bool) -> None:
    model = Repeats(3).train(training)
    rows_of(reading(model, noise(100), LENGTH))
    assert model.training is training
    assert torch.is_grad_enabled()


def test_validation_is_named() -> None:
    assert ("loss", "chunks, on validation") in rows_of(reading(Repeats(3), noise(100), LENGTH), split="validation")


class TestWhatCannotBe:
    def test_segments_without_state_are_unsupported(self) -> None:
        row = rows_of(reading(Repeats(3), noise(100), LENGTH))["bits_per_byte", "cached"]
        assert (row.status, row.value) == ("unsupported", None)
        assert row.detail == "nothing carries no state from one segment to the next"

    def test_a_stride_beyond_the_window_is_unsupported(self) -> None:
        rows = rows_of(reading(Repeats(3), noise(100), LENGTH), stride=[4, 17])
        assert rows["loss", "sliding, stride 4"].status == "done"
        row = rows["bits_per_byte", "sliding, stride 17"]
        assert row.status == "unsupported"
        assert "a stride of 17 leaves tokens between windows of 16 unscored" in (row.detail or "")

    def test_a_task_of_classes_has_no_perplexity(self) -> None:
        subject = reading(Repeats(3), noise(100), LENGTH, objective=Classification(5))
        [row] = PERPLEXITY.run(PERPLEXITY.options(), subject)
        assert (row.measure, row.status) == ("perplexity", "unsupported")
        assert row.detail == "the task predicts no tokens, so there is no perplexity"

    def test_sequences_of_their_own_are_no_text(self) -> None:
        tokens = noise(64).reshape(4, 16)
        split = RowSplit(tokens, np.array([15]), tokens[:, :1])
        rows = rows_of(reading(Repeats(3), split, LENGTH))
        assert {row.status for row in rows.values()} == {"unsupported"}
        assert "not windows of one text" in (rows["bits_per_byte", "chunks"].detail or "")

    def test_shuffled_sentences_are_read_in_chunks_alone(self) -> None:
        subject = reading(Repeats(3), noise(100), LENGTH, supports=STATEFUL, unrelated="shuffled sentences")
        rows = rows_of(subject, stride=4)
        assert rows["loss", "chunks"].status == "done"
        for phase in ("sliding, stride 4", "cached"):
            assert rows["bits_per_byte", phase].status == "unsupported"
            assert "the text is shuffled sentences" in (rows["bits_per_byte", phase].detail or "")

    def test_hidden_tokens_are_read_in_the_tasks_own_windows_alone(self) -> None:
        model = Repeats(3)
        subject = reading(model, noise(161), LENGTH, objective=MaskedLanguageModeling(SYMBOLS))
        model.objective = subject.data.objective  # type: ignore[assignment]
        rows = rows_of(subject, stride=4, max_tokens=50, batch_size=2)
        assert rows["loss", "chunks"].samples == 3 * LENGTH
        assert rows["bits_per_masked_byte", "sliding, stride 4"].status == "unsupported"
        assert "from both sides" in (rows["bits_per_masked_byte", "cached"].detail or "")

    def test_a_model_that_diverged_has_no_score(self) -> None:
        model = Repeats(3)
        torch.nn.init.constant_(model.head.bias, torch.nan)
        row = rows_of(reading(model, noise(100), LENGTH))["bits_per_byte", "chunks"]
        assert (row.status, row.value) == ("failed", None)
        assert "the model has diverged" in (row.detail or "")

    @pytest.mark.parametrize("options", [{"stride": 0}, {"stride": []}, {"protocols": []}, {"max_tokens": 0}])
    def test_options_without_meaning_are_refused(self, options: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"validation error|at least|greater"):
            PERPLEXITY.options(**options)


def test_the_measures_are_registered() -> None:
    assert {"perplexity", "loss_by_position", "effective_context"} <= {measure.name for measure in register_measures()}
