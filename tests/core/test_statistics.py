from __future__ import annotations

import math
import random

import pytest

from attention_arena.statistics import (
    Interval,
    exponent,
    geometric_mean,
    mean_interval,
    score_interval,
    wilson_interval,
)


def test_the_mean_of_one_two_three_has_the_t_interval_of_the_tables() -> None:
    found = mean_interval([1.0, 2.0, 3.0])
    # With 2 degrees of freedom t has a closed form, 4.302653 at 97.5 %; the standard error is 1 / sqrt(3).
    half = 0.95 * math.sqrt(2 / (1 - 0.95**2)) / math.sqrt(3)
    assert found.value == 2.0
    assert found.high == pytest.approx(2.0 + half, rel=1e-12)
    assert found.low == pytest.approx(2.0 - half, rel=1e-12)
    assert (found.n, found.basis) == (3, "seeds")


def test_one_value_has_no_interval() -> None:
    assert mean_interval([0.5]) == Interval(0.5, None, None, 1, "none")


def test_equal_values_have_an_interval_of_no_width() -> None:
    assert mean_interval([0.25, 0.25])[:3] == (0.25, 0.25, 0.25)


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [(8, 10, 0.4901625, 0.9433178), (0, 10, 0.0, 0.2775328), (10, 10, 0.7224672, 1.0), (1, 1, 0.2065493, 1.0)],
)
def test_wilson_intervals_agree_with_published_values(correct: int, n: int, low: float, high: float) -> None:
    found = wilson_interval(correct / n, n)
    assert found.low == pytest.approx(low, abs=1e-6)
    assert found.high == pytest.approx(high, abs=1e-6)
    assert found.basis == "examples"


def test_an_exponent_is_exact_on_an_exact_power_law() -> None:
    found = exponent([256, 512, 1024, 2048], [3e-9 * n**1.5 for n in (256, 512, 1024, 2048)])
    assert found.value == pytest.approx(1.5, abs=1e-12)
    assert found.low == pytest.approx(1.5, abs=1e-6)
    assert found.high == pytest.approx(1.5, abs=1e-6)


def test_an_exponent_has_the_textbook_interval_of_a_slope() -> None:
    found = exponent([math.exp(x) for x in (0, 1, 2)], [math.exp(y) for y in (0, 1, 1)])
    # By hand: residuals -1/6, 1/3, -1/6, so s^2 = 1/6 on 1 degree of freedom, where t is a Cauchy quantile.
    assert found.value == pytest.approx(0.5)
    assert found.high is not None
    assert found.high - found.value == pytest.approx(math.tan(0.475 * math.pi) * math.sqrt(1 / 12), rel=1e-9)


def test_two_points_give_an_exponent_without_an_interval() -> None:
    found = exponent([1, 2], [1, 4])
    assert found.value == pytest.approx(2.0)
    assert found[1:] == (None, None, 2, "none")


def test_the_mean_interval_covers_the_truth_in_95_of_100_samples() -> None:
    source = random.Random(0)
    hits = sum(_covers(mean_interval([source.gauss(1, 2) for _ in range(3)]), 1.0) for _ in range(2000))
    # Four standard errors of a 95 % rate over 2000 samples are 2 %.
    assert hits / 2000 == pytest.approx(0.95, abs=0.02)


def test_the_wilson_interval_covers_the_truth_in_95_of_100_samples() -> None:
    source = random.Random(1)
    hits = 0
    for _ in range(2000):
        truth = source.uniform(0.1, 0.9)
        hits += _covers(wilson_interval(sum(source.random() < truth for _ in range(60)) / 60, 60), truth)
    assert hits / 2000 == pytest.approx(0.95, abs=0.02)


def test_the_exponents_interval_covers_the_truth_in_95_of_100_samples() -> None:
    source = random.Random(2)
    sizes = [2.0**k for k in range(5)]
    hits = 0
    for _ in range(1000):
        costs = [n**1.2 * math.exp(source.gauss(0, 0.1)) for n in sizes]
        hits += _covers(exponent(sizes, costs), 1.2)
    # Four standard errors over 1000 samples are 2.8 %.
    assert hits / 1000 == pytest.approx(0.95, abs=0.028)


def _covers(interval: Interval, truth: float) -> bool:
    assert interval.low is not None
    assert interval.high is not None
    return interval.low <= truth <= interval.high


def test_several_seeds_are_judged_by_their_spread() -> None:
    assert score_interval([80.0, 82.0], examples=10, whole=100.0) == mean_interval([80.0, 82.0])


def test_one_seeds_percentage_is_judged_by_its_examples() -> None:
    found = score_interval([80.0], examples=10, whole=100.0)
    assert found.value == 80.0
    assert found.low == pytest.approx(49.01625, abs=1e-4)
    assert (found.n, found.basis) == (10, "examples")


@pytest.mark.parametrize(("examples", "whole"), [(None, 100.0), (10, None), (0, 1.0)])
def test_one_seed_without_examples_or_proportion_has_no_interval(examples: int | None, whole: float | None) -> None:
    assert score_interval([0.8], examples, whole).basis == "none"


def test_intervals_overlap_where_they_share_a_point() -> None:
    low, high = Interval(1, 0, 2, 3, "seeds"), Interval(3, 2, 4, 3, "seeds")
    assert low.overlaps(high) is True
    assert high.overlaps(low) is True
    assert low.overlaps(high._replace(low=2.1)) is False
    assert low.overlaps(Interval(1, None, None, 1, "none")) is None


def test_the_geometric_mean_of_ratios_is_the_ratio_of_geometric_means() -> None:
    assert geometric_mean([1.0, 4.0]) == pytest.approx(2.0)
    assert geometric_mean([2 / 3, 5 / 7]) == pytest.approx(geometric_mean([2, 5]) / geometric_mean([3, 7]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval([]), "at least 1 value"),
        (lambda: mean_interval([1.0, math.nan]), "must be finite"),
        (lambda: wilson_interval(1.5, 10), "between 0 and 1"),
        (lambda: wilson_interval(0.5, 0), "at least 1 trial"),
        (lambda: exponent([1, 2], [1]), "one cost a size"),
        (lambda: exponent([2, 2], [1, 3]), "2 different sizes"),
        (lambda: exponent([1, 2], [0, 3]), "positive"),
        (lambda: geometric_mean([1.0, 0.0]), "positive"),
    ],
)
def test_what_cannot_be_computed_is_refused_with_a_reason(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=message):
        call()
