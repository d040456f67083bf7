"""Loss by position is what toys of known sight lose at every place of a window."""

import math
from typing import Any

import pytest
import torch

from attention_arena.measure import Measurement, Subject
from attention_arena.measures.perplexity import LOSS_BY_POSITION
from attention_arena.measures.perplexity.by_position import bins, by_position, whole_windows
from attention_arena.measures.perplexity.scoring import Scored
from attention_arena.objectives import Classification, MaskedLanguageModeling
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

LENGTH = 32
BLANK = Measurement("loss_by_position", "chunks", None, "nats", 4)


def rows_of(subject: Subject, **options: Any) -> list[Measurement]:
    return list(LOSS_BY_POSITION.run(LOSS_BY_POSITION.options(**options), subject))


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7, 8, 100, 128, 4096])
def test_bins_cover_every_position_once(length: int) -> None:
    covered = [position for start, stop in bins(length) for position in range(start, stop)]
    assert covered == list(range(length))


def test_bins_begin_at_two_contexts_for_each_doubling() -> None:
    assert [start + 1 for start, _ in bins(64)] == [1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64]


@pytest.mark.parametrize("lag", [1, 2, 4, 8])
def test_a_model_guesses_until_its_context_reaches_what_it_needs(lag: int) -> None:
    rows = rows_of(reading(Repeats(lag), periodic(LENGTH * 20 + 1, lag), LENGTH))
    for row in rows:
        assert row.position is not None
        assert row.value == pytest.approx(GUESSES if row.position + 1 < lag else KNOWS, rel=1e-6)


def test_a_model_of_one_token_loses_the_same_everywhere() -> None:
    rows = rows_of(reading(Repeats(1), periodic(LENGTH * 20 + 1, 1), LENGTH))
    assert len({row.value for row in rows}) == 1


def test_segments_that_carry_state_lose_nothing_at_their_beginning() -> None:
    subject = reading(Repeats(8, memory=8), periodic(LENGTH * 40 + 1, 8), LENGTH, supports=STATEFUL)
    rows = rows_of(subject, protocols=["chunks", "cached"])
    early = {row.phase: row.value for row in rows if row.position == 0}
    assert early["chunks"] == pytest.approx(GUESSES)
    # Each of the four rows of text begins with one segment that has nothing before it, of ten.
    assert early["cached"] == pytest.approx(0.1 * GUESSES + 0.9 * KNOWS)


def test_a_bin_is_the_mean_of_its_positions_with_an_interval_over_windows() -> None:
    windows = torch.tensor([[1.0, 2.0, 3.0, 5.0], [3.0, 2.0, 5.0, 7.0], [2.0, 2.0, 7.0, 3.0]], dtype=torch.float64)
    first, second, third, fourth = by_position(windows, BLANK)
    assert [row.position for row in (first, second, third, fourth)] == [0, 1, 2, 3]
    assert (first.value, third.value) == (2.0, 5.0)
    # t of 2 degrees of freedom, 4.303, times the deviation of the mean, 1 / sqrt(3).
    assert first.high == pytest.approx(2 + 4.302653 / math.sqrt(3), rel=1e-6)
    assert first.low == pytest.approx(2 - 4.302653 / math.sqrt(3), rel=1e-6)
    assert (second.low, second.high) == (2.0, 2.0)
    assert {row.samples for row in (first, second, third, fourth)} == {3}


def test_windows_stand_in_the_order_of_the_text_however_they_were_read() -> None:
    places = [torch.tensor([0, 1, 8, 9]), torch.tensor([2, 3, 10, 11]), torch.tensor([4, 12, 13])]
    scores = [Scored(each.double(), each, {}, (2, 2), 0.0) for each in places]
    assert whole_windows(scores, 2).tolist() == [[0.0, 1.0], [2.0, 3.0], [8.0, 9.0], [10.0, 11.0]]


def test_only_whole_windows_of_the_first_tokens_count() -> None:
    rows = rows_of(reading(Repeats(1), noise(1000), LENGTH), max_tokens=LENGTH * 7 + 3)
    assert {row.samples for row in rows} == {7}


def test_a_text_without_a_whole_window_is_unsupported() -> None:
    [row] = rows_of(reading(Repeats(1), noise(20), LENGTH))
    assert row.status == "unsupported"
    assert row.detail == "the test split has no whole window of 32 tokens"


@pytest.mark.parametrize("protocol", ["chunks", "cached"])
def test_other_tasks_and_variants_are_told_why(protocol: str) -> None:
    text = noise(300)
    classes = reading(Repeats(1), text, LENGTH, objective=Classification(3))
    hidden = reading(Repeats(1), text, LENGTH, objective=MaskedLanguageModeling(SYMBOLS))
    assert "predicts no tokens" in (rows_of(classes, protocols=[protocol])[0].detail or "")
    assert "both sides" in (rows_of(hidden, protocols=[protocol])[0].detail or "")


def test_a_variant_without_state_has_no_cached_segments() -> None:
    [row] = rows_of(reading(Repeats(1), noise(300), LENGTH), protocols=["cached"])
    assert "carries no state" in (row.detail or "")
