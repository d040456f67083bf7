from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Sequence

import pytest

from attention_arena.statistics import Interval, Point, excess, exponent, upper_half

DOUBLINGS = [512 * 2**k for k in range(6)]
Z = 1.959963985
"""Half of a 95 % interval in standard deviations."""


def points(cost: Callable[[float], float], lengths: Sequence[float] = DOUBLINGS) -> list[Point]:
    return [Point(n, cost(n)) for n in lengths]


def noisy(source: random.Random, cost: Callable[[float], float], sigmas: Sequence[float]) -> list[Point]:
    """Points whose logarithm is off by a normal error, with the 95 % interval of that error."""
    found = []
    for n, sigma in zip(DOUBLINGS, sigmas, strict=False):
        value = cost(n) * math.exp(source.gauss(0, sigma))
        found.append(Point(n, value, value * math.exp(-Z * sigma), value * math.exp(Z * sigma)))
    return found


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0])
def test_an_exponent_is_exact_on_an_exact_power_law(power: float) -> None:
    found = exponent(points(lambda n: 3e-9 * n**power))
    assert found.value == pytest.approx(power, abs=1e-12)
    assert found.low == pytest.approx(power, abs=1e-6)
    assert found.high == pytest.approx(power, abs=1e-6)


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        (lambda n: 5 + 0.02 * n, 1.0),
        # Its slope is 1 + 1 / log n.
        (lambda n: 0.02 * n * math.log(n), 1.0 + 1 / math.log(6000)),
        (lambda n: 0.005 * n + 2e-5 * n**2, 2.0),
    ],
    ids=["n", "n log n", "n^2"],
)
def test_exponents_of_the_usual_costs_come_out_beside_what_is_linear(
    cost: Callable[[float], float], expected: float
) -> None:
    assert exponent(upper_half(points(cost))).value == pytest.approx(expected, abs=0.1)


def test_a_fit_over_all_lengths_would_be_biased_by_the_short_ones() -> None:
    bent = points(lambda n: n + n**2 / 1000)
    assert exponent(bent).value < exponent(upper_half(bent)).value < 2


def test_an_exponent_has_the_textbook_interval_of_a_slope() -> None:
    found = exponent([Point(math.exp(x), math.exp(y)) for x, y in ((0, 0), (1, 1), (2, 1))])
    # By hand: residuals -1/6, 1/3, -1/6, so s^2 = 1/6 on 1 degree of freedom, where t is a Cauchy quantile.
    assert found.value == pytest.approx(0.5)
    assert found.high is not None
    assert found.high - found.value == pytest.approx(math.tan(0.475 * math.pi) * math.sqrt(1 / 12), rel=1e-9)


def test_two_points_give_an_exponent_without_an_interval() -> None:
    found = exponent([Point(1, 1), Point(2, 4)])
    assert found.value == pytest.approx(2.0)
    assert found[1:] == (None, None, 2, "none")


def test_two_points_with_intervals_have_that_of_a_difference() -> None:
    found = exponent([Point(1, 1.0, 1 / 1.1, 1.1), Point(math.e, 1.0, 1 / 1.2, 1.2)])
    half = math.hypot(math.log(1.1), math.log(1.2))
    assert found[:3] == pytest.approx((0.0, -half, half))
    assert found.basis == "points"


def test_points_on_a_line_are_not_trusted_more_than_their_own_intervals() -> None:
    exact = [Point(n, n, n / 1.3, n * 1.3) for n in DOUBLINGS]
    bare = [Point(n, n) for n in DOUBLINGS]
    assert _width(exponent(exact)) > 0.1 > _width(exponent(bare))


def test_a_bend_widens_the_interval_however_sure_the_points_are() -> None:
    sure = [Point(n, n + n**2 / 3000, (n + n**2 / 3000) / 1.0001, (n + n**2 / 3000) * 1.0001) for n in DOUBLINGS]
    found = exponent(sure)
    assert found.low is not None
    assert found.high is not None
    assert found.low < math.log2(sure[3].value / sure[2].value) < found.high


def test_the_excess_of_two_costs_is_of_the_lengths_that_both_have() -> None:
    found = excess([Point(1, 6.0), Point(2, 8.0)], [Point(2, 10.0), Point(4, 1.0)])
    assert found == [Point(2, -2.0)]


def test_the_interval_of_an_excess_is_that_of_a_difference() -> None:
    found = excess([Point(1, 6.0, 5.0, 9.0)], [Point(1, 2.0, 1.5, 4.0)])
    assert found == [Point(1, 4.0, 4 - math.hypot(1, 2), 4 + math.hypot(3, 0.5))]


def test_the_exponent_of_an_excess_covers_the_truth_in_95_of_100_samples_at_least() -> None:
    source = random.Random(4)
    hits = 0
    for _ in range(2000):
        whole = noisy(source, lambda n: n + n**2 / 500, [0.03] * 5)
        hits += _covers(exponent(excess(whole, noisy(source, lambda n: n, [0.03] * 5))), 2.0)
    assert hits / 2000 >= 0.95 - 0.02


ALIKE, GROWING = [0.05] * 5, [0.01, 0.01, 0.01, 0.05, 0.1]


@pytest.mark.parametrize("sigmas", [ALIKE, GROWING], ids=["alike", "growing"])
def test_the_interval_covers_the_truth_in_95_of_100_samples_at_least(sigmas: list[float]) -> None:
    # Being the wider of two that cover 95 % each, it may cover more; four standard errors over 2000 samples are 2 %.
    assert 0.95 - 0.02 <= _coverage(sigmas) < 1.0


def test_scatter_alone_covers_95_of_100_where_all_points_vary_alike() -> None:
    assert _coverage(ALIKE, with_intervals=False) == pytest.approx(0.95, abs=0.02)


def test_scatter_alone_would_cover_less_where_the_longest_vary_most() -> None:
    assert _coverage(GROWING, with_intervals=False) < 0.95 - 0.02


def _coverage(sigmas: Sequence[float], with_intervals: bool = True) -> float:
    source = random.Random(2)
    hits = 0
    for _ in range(2000):
        seen = noisy(source, lambda n: n**1.2, sigmas)
        hits += _covers(exponent(seen if with_intervals else [Point(*point[:2]) for point in seen]), 1.2)
    return hits / 2000


@pytest.mark.parametrize(
    ("lengths", "kept"),
    [
        ([512, 1024, 2048, 4096, 8192, 16384], [2048, 4096, 8192, 16384]),
        ([256 * 2**k for k in range(9)], [4096, 8192, 16384, 32768, 65536]),
        ([256, 1024], [256, 1024]),
        ([4096, 256, 1024], [256, 1024, 4096]),
    ],
    ids=["six", "nine", "two", "unordered"],
)
def test_the_upper_half_has_four_lengths_at_least(lengths: list[int], kept: list[int]) -> None:
    assert [point.length for point in upper_half(points(lambda n: n, lengths))] == kept


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([Point(2, 1), Point(2, 3)], "at least 2 different lengths, got [2]"),
        ([Point(1, 0), Point(2, 3)], "positive and finite, got 0 at 1"),
        ([Point(1, math.nan), Point(2, 3)], "positive and finite, got nan at 1"),
    ],
    ids=["one length", "zero", "nan"],
)
def test_what_has_no_exponent_is_refused_with_a_reason(given: list[Point], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        exponent(given)


def _covers(interval: Interval, truth: float) -> bool:
    assert interval.low is not None
    assert interval.high is not None
    return interval.low <= truth <= interval.high


def _width(interval: Interval) -> float:
    assert interval.low is not None
    assert interval.high is not None
    return interval.high - interval.low
