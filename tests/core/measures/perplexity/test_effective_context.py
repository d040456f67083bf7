"""The effective context of a toy is as far back as it looks, and what cannot be told is said."""

from typing import Any

import numpy as np
import pytest
import torch

from attention_arena.measure import Measurement, Subject
from attention_arena.measures.perplexity import EFFECTIVE_CONTEXT
from attention_arena.measures.perplexity.contexts import (
    context_lengths,
    endings,
    longest_for_all,
    losses_by_context,
    targets_of,
)
from attention_arena.measures.perplexity.effective_context import effective_context
from attention_arena.objectives import Classification, MaskedLanguageModeling
from tests.core.measures.perplexity.language_toys import (
    GUESSES,
    KNOWS,
    STATEFUL,
    STATELESS,
    SYMBOLS,
    Repeats,
    noise,
    reading,
    repeating,
)

LENGTH = 32
CONTEXTS = [1, 2, 4, 8]


def rows_of(subject: Subject, **options: Any) -> list[Measurement]:
    return list(EFFECTIVE_CONTEXT.run(EFFECTIVE_CONTEXT.options(**options), subject))


def curve(rows: list[Measurement]) -> dict[int, float]:
    found = {row.position: row.value for row in rows if row.measure == "loss_by_context"}
    return {position: value for position, value in found.items() if position is not None and value is not None}


def verdict(rows: list[Measurement]) -> Measurement:
    [row] = [row for row in rows if row.measure == "effective_context"]
    return row


@pytest.mark.parametrize(("lag", "expected"), [(1, 1), (2, 2), (3, 4), (8, 8), (9, 16)])
def test_a_model_that_looks_so_far_back_makes_use_of_so_much(lag: int, expected: int) -> None:
    rows = rows_of(reading(Repeats(lag), repeating(1000, lag), LENGTH))
    row = verdict(rows)
    assert (row.value, row.low, row.high, row.detail) == (expected, expected, expected, None)
    assert list(curve(rows)) == [1, 2, 4, 8, 16, 32]
    for context, value in curve(rows).items():
        assert value == pytest.approx(KNOWS if context >= lag else GUESSES, rel=1e-6)


def test_a_model_that_uses_all_of_its_window_has_at_least_that() -> None:
    row = verdict(rows_of(reading(Repeats(20), repeating(1000, 20), LENGTH)))
    assert (row.value, row.low, row.high) == (32, 32, None)
    assert row.detail is not None
    assert row.detail.startswith("at least 32: the longest context that was measured still saves 9")


@pytest.mark.parametrize(("lag", "expected"), [(8, 8), (33, 64), (64, 64)])
def test_a_model_with_memory_is_followed_beyond_its_segment(lag: int, expected: int) -> None:
    rows = rows_of(reading(Repeats(lag, memory=100), repeating(2000, lag), LENGTH, supports=STATEFUL))
    assert list(curve(rows)) == [1, 2, 4, 8, 16, 32, 64, 128]
    assert verdict(rows).value == expected


def test_with_and_without_memory_the_same_tokens_are_predicted() -> None:
    text = noise(3000)
    rows = [
        rows_of(reading(Repeats(3, memory), text, LENGTH, supports=supports), max_tokens=100)
        for memory, supports in ((0, STATELESS), (50, STATEFUL))
    ]
    plain, stateful = (curve(each) for each in rows)
    assert plain == {context: stateful[context] for context in plain}
    assert {row.samples for each in rows for row in each} == {100}


def test_losses_are_those_of_windows_cut_to_the_context() -> None:
    text, model = repeating(500, 5), Repeats(5)
    targets = targets_of(len(text), 16, 40)
    losses = losses_by_context(reading(model, text, 16), text, targets, [1, 4, 5, 16], batch_size=3)
    assert losses.shape == (4, 40)
    torch.testing.assert_close(losses[:2], torch.full((2, 40), GUESSES, dtype=torch.float64))
    torch.testing.assert_close(losses[2:], torch.full((2, 40), KNOWS, dtype=torch.float64), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("context", "length"), [(1, 1), (4, 4), (12, 4)])
def test_what_is_read_ends_at_each_target_and_holds_the_context_alone(context: int, length: int) -> None:
    text, targets = np.arange(100), np.array([20, 41, 99])
    readings = list(endings(text, targets, context, length, n_rows=2))
    per_batch = context // length
    for first, some in ((0, targets[:2]), (per_batch, targets[2:])):
        parts = readings[first : first + per_batch]
        read = torch.cat([part.batch.tokens for part in parts], dim=1)
        assert read.tolist() == [list(range(target - context, target)) for target in some.tolist()]
        assert [bool(part.batch.resumes.all()) for part in parts if part.batch.resumes is not None] == [
            index > 0 for index in range(per_batch)
        ]
        scored = [part.batch.targets[part.batch.scored] for part in parts if part.batch.scored is not None]
        assert torch.cat(scored).tolist() == some.tolist()


@pytest.mark.parametrize(
    ("length", "longest", "expected"),
    [
        (32, 128, [1, 2, 4, 8, 16, 32, 64, 128]),
        (150, 600, [1, 2, 4, 8, 16, 32, 64, 128, 150, 300, 600]),
        (32, 100, [1, 2, 4, 8, 16, 32, 64]),
        (256, 100, [1, 2, 4, 8, 16, 32, 64, 100]),
        (1, 4, [1, 2, 4]),
        (2, 2, [1, 2]),
    ],
)
def test_contexts_double_up_to_the_length_and_then_in_lengths(length: int, longest: int, expected: list[int]) -> None:
    assert context_lengths(length, longest) == expected


@pytest.mark.parametrize(("n_tokens", "longest"), [(1000, 128), (256, 128), (255, 64), (128, 64), (127, 32), (34, 32)])
def test_the_longest_context_leaves_half_of_the_text(n_tokens: int, longest: int) -> None:
    assert longest_for_all(None, LENGTH, n_tokens) == longest


@pytest.mark.parametrize(("n_tokens", "wanted", "n"), [(1000, 100, 100), (1000, 5000, 936), (66, 10, 2)])
def test_targets_lie_evenly_behind_the_longest_context(n_tokens: int, wanted: int, n: int) -> None:
    targets = targets_of(n_tokens, 64, wanted)
    assert len(targets) == n
    assert targets[0] == 64
    assert targets[-1] < n_tokens
    assert np.ptp(np.diff(targets)) <= 1


class TestJudgement:
    def test_a_gap_without_gain_does_not_end_the_context(self) -> None:
        losses = torch.tensor([2.0, 2.0, 2.0, 1.0], dtype=torch.float64)[:, None].expand(4, 10)
        assert effective_context(CONTEXTS, losses, 0.01).tokens == 8

    @pytest.mark.parametrize(("gain", "tokens"), [(0.2, 1), (0.05, 2), (0.005, 4)])
    def test_what_counts_as_a_gain_is_told(self, gain: float, tokens: int) -> None:
        losses = torch.tensor([2.0, 1.9, 1.89, 1.889], dtype=torch.float64)[:, None].expand(4, 10)
        assert effective_context(CONTEXTS, losses, gain).tokens == tokens

    def test_a_longer_context_that_hurts_is_no_gain(self) -> None:
        losses = torch.tensor([2.0, 1.5, 1.6, 1.7], dtype=torch.float64)[:, None].expand(4, 10)
        found = effective_context(CONTEXTS, losses, 0.01)
        assert (found.tokens, found.low, found.high, found.last_gain) == (2, 2, 2, None)

    def test_noise_shared_by_all_contexts_widens_nothing(self) -> None:
        generator = torch.Generator().manual_seed(0)
        shared = 3 * torch.randn(400, generator=generator, dtype=torch.float64)
        losses = torch.tensor([2.0, 1.5, 1.5, 1.5], dtype=torch.float64)[:, None] + shared
        found = effective_context(CONTEXTS, losses, 0.01)
        assert (found.low, found.tokens, found.high) == (2, 2, 2)

    def test_noise_of_each_context_widens_the_interval(self) -> None:
        generator = torch.Generator().manual_seed(0)
        losses = torch.tensor([2.5, 1.5, 1.46, 1.46], dtype=torch.float64)[:, None]
        losses = losses + 0.3 * torch.randn(4, 200, generator=generator, dtype=torch.float64)
        found = effective_context(CONTEXTS, losses, 0.01)
        assert found.low == 2
        assert found.low <= found.tokens
        assert found.high is None or found.high > 2


class TestWhatCannotBe:
    def test_other_tasks_are_told_why(self) -> None:
        text = noise(1000)
        [classes] = rows_of(reading(Repeats(1), text, LENGTH, objective=Classification(3)))
        [hidden] = rows_of(reading(Repeats(1), text, LENGTH, objective=MaskedLanguageModeling(SYMBOLS)))
        [shuffled] = rows_of(reading(Repeats(1), text, LENGTH, unrelated="shuffled sentences"))
        assert {row.status for row in (classes, hidden, shuffled)} == {"unsupported"}
        assert "predicts no tokens" in (classes.detail or "")
        assert "both sides" in (hidden.detail or "")
        assert "shuffled sentences" in (shuffled.detail or "")

    def test_a_text_shorter_than_the_context_is_told(self) -> None:
        [row] = rows_of(reading(Repeats(1), noise(100), LENGTH), max_context=128)
        assert row.status == "unsupported"
        assert row.detail is not None
        assert row.detail.startswith("the split has 100 tokens, too few for contexts of 128: give a max_context of 50")

    @pytest.mark.parametrize("options", [{"gain": 0}, {"gain": 1}, {"max_tokens": 1}, {"max_context": 1}])
    def test_options_without_meaning_are_refused(self, options: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"greater|less"):
            EFFECTIVE_CONTEXT.options(**options)
