from __future__ import annotations

import pytest

from attention_arena.report.tables.latex_words import Words, pieces, width_of


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("± 2.2", [["± 2.2"]]),
        ("two long words", [["two"], ["long"], ["words"]]),
        ("language_model (stand-in)", [["language_", "model"], ["(stand-in)"]]),
        ("n_test=1,n_train=2,", [["n_", "test=", "1,", "n_", "train=", "2,"]]),
        ("0123456789abcdef", [["01234567", "89abcdef"]]),
        ("", [[""]]),
    ],
)
def test_short_texts_stay_whole_and_long_words_are_broken(text: str, broken: list[list[str]]) -> None:
    assert pieces(text) == broken


def test_a_letter_that_is_shown_as_its_code_point_is_as_wide_as_that() -> None:
    assert width_of("中") > 5 * width_of("x")
    assert width_of("Σ") < 2 * width_of("x")


def test_a_smaller_letter_is_narrower_and_the_widest_piece_decides() -> None:
    assert Words("accuracy", small=True).width < Words("accuracy").width
    assert Words("a language_model").widest_piece == Words("language_").width
