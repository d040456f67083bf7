from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Sequence

import pytest

from attention_arena.statistics import Point, break_even, cost_ratios

DOUBLINGS = [512 * 2**k for k in range(6)]
Z = 1.959963985
"""Half of a 95 % interval in standard deviations."""


def ratios(ratio: Callable[[float], float], spread: float | None = None) -> list[Point]:
    values = [(n, ratio(n)) for n in DOUBLINGS]
    return [Point(n, v) if spread is None else Point(n, v, v / spread, v * spread) for n, v in values]


@pytest.mark.parametrize("crossing", [512.5, 700.0, 1024.0, 3000.0, 8192.0, 16000.0])
@pytest.mark.parametrize("power", [0.1, 0.5, 1.0])
def test_the_crossing_of_two_power_laws_is_exact(crossing: float, power: float) -> None:
    found = break_even(ratios(lambda n: (crossing / n) ** power))
    assert found.verdict == "found"
    assert found.value == pytest.approx(crossing, rel=1e-9)
    assert (found.low, found.high, found.basis) == (None, None, "none")
    assert (found.shortest, found.longest) == (512, 16384)


def test_ratios_without_error_have_a_break_even_without_error() -> None:
    found = break_even(ratios(lambda n: 3000 / n, spread=1.0))
    assert found[1:4] == pytest.approx((3000.0, 3000.0, 3000.0))


def test_a_cost_that_is_never_the_smaller_has_none() -> None:
    found = break_even(ratios(lambda n: 40_000 / n, spread=1.01))
    assert (found.verdict, found.value, found.low, found.high) == ("none", None, 16384, None)


def test_a_ratio_that_is_only_just_above_one_leaves_open_where_it_crosses() -> None:
    found = break_even(ratios(lambda n: 17_000 / n, spread=1.2))
    assert (found.verdict, found.value, found.high) == ("none", None, None)
    assert found.low is not None
    assert 8192 < found.low < 16384


def test_a_cost_that_is_always_the_smaller_breaks_even_below_the_shortest() -> None:
    found = break_even(ratios(lambda n: 100 / n, spread=1.01))
    assert (found.verdict, found.value, found.low, found.high) == ("always", None, None, 512)


def test_a_cost_that_is_only_just_the_smaller_at_first_is_surely_so_a_little_later() -> None:
    found = break_even(ratios(lambda n: 500 / n, spread=1.2))
    assert (found.verdict, found.low) == ("always", None)
    assert found.high is not None
    assert 512 < found.high < 1024


def test_a_ratio_of_one_throughout_is_none() -> None:
    assert break_even(ratios(lambda n: 1.0, spread=1.0))[:2] == ("none", None)


def test_of_several_crossings_the_last_one_counts() -> None:
    values = [0.5, 2.0, 0.5, 2.0, 0.5, 0.25]
    found = break_even([Point(n, v) for n, v in zip(DOUBLINGS, values, strict=True)])
    assert found.value == pytest.approx(math.sqrt(4096 * 8192))


def test_one_that_becomes_dearer_again_has_none() -> None:
    values = [2.0, 0.5, 0.5, 0.5, 0.5, 2.0]
    assert break_even([Point(n, v) for n, v in zip(DOUBLINGS, values, strict=True)])[:2] == ("none", None)


def test_one_length_tells_on_which_side_it_is() -> None:
    assert break_even([Point(512, 0.5)]).verdict == "always"
    assert break_even([Point(512, 1.5)]).verdict == "none"


def test_the_order_of_the_points_does_not_matter() -> None:
    given = ratios(lambda n: 3000 / n, spread=1.1)
    assert break_even(given[::-1]) == break_even(given)


def test_for_a_ratio_without_interval_stands_the_widest_of_the_others() -> None:
    given = ratios(lambda n: 3000 / n, spread=1.1)
    given[0] = given[0]._replace(low=given[0].value / 1.3, high=given[0].value * 1.2)
    wide = given[3]._replace(low=given[3].value / 1.3, high=given[3].value * 1.2)
    found = break_even([*given[:3], given[3]._replace(low=None, high=None), *given[4:]])
    assert found == break_even([*given[:3], wide, *given[4:]])
    assert found.basis == "points"


def test_half_of_the_ratios_without_interval_leave_the_break_even_without() -> None:
    given = ratios(lambda n: 3000 / n, spread=1.1)
    found = break_even([*given[:3], *(point._replace(low=None, high=None) for point in given[3:])])
    assert found.value == pytest.approx(3000)
    assert found.basis == "none"


@pytest.mark.parametrize(("crossing", "power"), [(1500, 1.0), (2048, 1.0), (5000, 0.5)], ids=["inside", "at", "flat"])
def test_the_interval_covers_the_crossing_in_95_of_100_samples(crossing: float, power: float) -> None:
    source = random.Random(5)
    hits = 0
    for _ in range(2000):
        found = break_even(_noisy(source, lambda n: (crossing / n) ** power, [0.05] * 6))
        hits += (found.low or 0) <= crossing <= (found.high or math.inf)
    # Four standard errors of a 95 % rate over 2000 samples are 2 %.
    assert hits / 2000 == pytest.approx(0.95, abs=0.02)


def test_the_interval_of_two_costs_timed_apart_covers_the_crossing_in_95_of_100_samples() -> None:
    source = random.Random(6)
    hits = 0
    for _ in range(2000):
        mine = _noisy(source, lambda n: 3.0 * n, [0.04] * 6)
        other = _noisy(source, lambda n: n**2 / 1000, [0.03] * 6)
        found = break_even(cost_ratios(mine, other))
        hits += (found.low or 0) <= 3000 <= (found.high or math.inf)
    assert hits / 2000 == pytest.approx(0.95, abs=0.02)


def test_a_quotient_is_of_the_lengths_that_both_have() -> None:
    found = cost_ratios([Point(1, 6.0), Point(2, 8.0), Point(4, 9.0)], [Point(2, 4.0), Point(4, 3.0), Point(8, 1.0)])
    assert found == [Point(2, 2.0), Point(4, 3.0)]


def test_the_interval_of_a_quotient_is_that_of_a_difference_of_logarithms() -> None:
    (found,) = cost_ratios([Point(1, 6.0, 5.0, 8.0)], [Point(1, 3.0, 2.0, 3.6)])
    down, up = math.hypot(math.log(6 / 5), math.log(1.2)), math.hypot(math.log(8 / 6), math.log(1.5))
    assert found.low == pytest.approx(2 * math.exp(-down))
    assert found.high == pytest.approx(2 * math.exp(up))


@pytest.mark.parametrize(
    ("given", "message"),
    [([], "at 1 length at least, got none"), ([Point(1, -1.0)], "positive and finite, got -1.0 at 1")],
    ids=["none", "negative"],
)
def test_what_has_no_break_even_is_refused_with_a_reason(given: Sequence[Point], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        break_even(given)


def _noisy(source: random.Random, value: Callable[[float], float], sigmas: Sequence[float]) -> list[Point]:
    found = []
    for n, sigma in zip(DOUBLINGS, sigmas, strict=True):
        seen = value(n) * math.exp(source.gauss(0, sigma))
        found.append(Point(n, seen, seen * math.exp(-Z * sigma), seen * math.exp(Z * sigma)))
    return found
