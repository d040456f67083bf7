"""Means of tokens with intervals over blocks of the text."""

from __future__ import annotations

import math

import numpy as np
import pytest

from attention_arena.statistics import mean_interval
from attention_arena.statistics.ratios import ratio_interval
from attention_arena.statistics.series import series_interval


def test_blocks_of_one_size_give_the_interval_of_their_mean() -> None:
    means = [1.0, 2.0, 4.0, 5.0]
    expected = mean_interval(means)
    found = ratio_interval([3 * mean for mean in means], [3, 3, 3, 3])
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))
    assert (found.n, found.basis) == (4, "blocks")


def test_large_blocks_count_for_more() -> None:
    assert ratio_interval([10.0, 1.0], [5, 1]).value == pytest.approx(11 / 6)


def test_an_empty_block_changes_the_value_by_nothing() -> None:
    assert ratio_interval([10.0, 0.0, 1.0], [5, 0, 1]).value == pytest.approx(11 / 6)


def test_one_block_has_no_interval() -> None:
    assert ratio_interval([6.0], [3]) == (2.0, None, None, 1, "none")


@pytest.mark.parametrize(
    ("totals", "counts", "message"),
    [
        ([1.0], [1, 2], "one count a total"),
        ([1.0, 2.0], [0, 0], "some above 0"),
        ([1.0, 2.0], [1, -1], "0 or more"),
        ([1.0, math.nan], [1, 1], "finite"),
        ([], [], "at least 1"),
    ],
)
def test_what_is_no_ratio_is_refused(totals: list[float], counts: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ratio_interval(totals, counts)


@pytest.mark.parametrize("n", [1, 2, 39, 40, 41, 1000])
def test_a_series_has_the_mean_of_all_its_values(n: int) -> None:
    values = np.random.default_rng(0).normal(size=n)
    found = series_interval(values)
    assert found.value == pytest.approx(float(values.mean()))
    assert found.n == n
    assert (found.low is None) == (n == 1)


def test_a_text_whose_neighbours_resemble_each_other_has_the_wider_interval() -> None:
    levels = np.random.default_rng(0).normal(size=40)
    alike = series_interval(np.repeat(levels, 50))
    apart = series_interval(np.random.default_rng(1).normal(size=2000))
    assert alike.low is not None
    assert apart.low is not None
    assert alike.value - alike.low > 4 * (apart.value - apart.low)


def test_the_interval_holds_the_true_mean_as_often_as_it_says() -> None:
    noise = np.random.default_rng(3).normal(size=(400, 2000))
    # A moving sum over 10 values, whose neighbours are correlated.
    series = np.apply_along_axis(np.convolve, 1, noise, np.ones(10), "valid")
    found = [series_interval(row) for row in series]
    covered = sum(each.low is not None and each.high is not None and each.low < 0 < each.high for each in found)
    assert 0.9 * len(found) <= covered <= 0.99 * len(found)
