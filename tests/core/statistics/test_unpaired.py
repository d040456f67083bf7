from __future__ import annotations

import math
import random

import pytest

from attention_arena.statistics import Interval, compare_unpaired, mean_interval, wilson_interval


def _plain(*values: float) -> list[Interval]:
    return [Interval(value, None, None, 1, "none") for value in values]


def _within(value: float, half: float) -> Interval:
    return Interval(value, value - half, value + half, 100, "examples")


def test_the_change_is_mine_minus_theirs() -> None:
    found = compare_unpaired(_plain(5.0, 6.0, 7.0), _plain(1.0, 2.0, 3.0))
    assert found is not None
    assert found.difference == pytest.approx(4.0)
    assert found.low < 4.0 < found.high
    assert found.n_seeds == 3


def test_each_side_counts_by_its_own_t_quantile() -> None:
    mine, theirs = [5.0, 6.5, 7.0], [1.0, 2.0, 2.5, 3.0]
    found = compare_unpaired(_plain(*mine), _plain(*theirs))
    halves = [side.high - side.value for side in map(mean_interval, (mine, theirs)) if side.high is not None]
    assert found is not None
    assert found.high - found.difference == pytest.approx(math.hypot(*halves))


def test_of_one_run_its_own_interval_counts() -> None:
    found = compare_unpaired([_within(10.0, 3.0)], [_within(5.0, 4.0)])
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(0.0), pytest.approx(10.0))
    assert found.p == pytest.approx(0.05, rel=1e-6)


def test_ends_at_unequal_distances_stay_on_their_side() -> None:
    mine = wilson_interval(0.99, 200)
    found = compare_unpaired([mine], [_within(0.5, 0.0)])
    assert found is not None
    assert mine.low is not None
    assert mine.high is not None
    assert (found.low, found.high) == (pytest.approx(mine.low - 0.5), pytest.approx(mine.high - 0.5))


def test_seeds_and_examples_add_up_by_their_squares() -> None:
    alone = compare_unpaired(_plain(1.0, 2.0), _plain(4.0, 5.0))
    both = compare_unpaired([_within(1.0, 2.0), _within(2.0, 2.0)], [_within(4.0, 2.0), _within(5.0, 2.0)])
    assert alone is not None
    assert both is not None
    half, more = alone.high - alone.difference, both.high - both.difference
    assert more == pytest.approx(math.sqrt(half**2 + 2 * 2.0**2))


@pytest.mark.parametrize("distance", [0.5, 2.0, 6.0], ids=str)
def test_p_is_below_5_percent_exactly_where_the_interval_leaves_out_no_change(distance: float) -> None:
    found = compare_unpaired(_plain(1.0, 1.4, 0.6), [each._replace(value=each.value + distance) for each in
                             _plain(1.0, 1.6, 0.7)])  # fmt: skip
    assert found is not None
    assert (found.p < 0.05) == (not found.low <= 0.0 <= found.high)


def test_a_ratio_is_that_of_geometric_means_and_turns_over() -> None:
    mine, theirs = _plain(8.0, 2.0), _plain(1.0, 1.0001)
    found, turned = compare_unpaired(mine, theirs, ratio=True), compare_unpaired(theirs, mine, ratio=True)
    assert found is not None
    assert turned is not None
    assert found.difference == pytest.approx(4.0, rel=1e-3)
    assert found.difference * turned.difference == pytest.approx(1.0)
    assert found.low * turned.high == pytest.approx(1.0)
    assert found.p == pytest.approx(turned.p)


@pytest.mark.parametrize("sides", [(1, 1), (1, 3), (3, 1)], ids=["one each", "one of mine", "one of theirs"])
def test_nothing_is_told_where_nothing_says_how_a_side_varies(sides: tuple[int, int]) -> None:
    mine, theirs = (_plain(*range(1, n + 1)) for n in sides)
    assert compare_unpaired(mine, theirs) is None


def test_equal_values_are_no_change_and_other_constants_are_one() -> None:
    same, other = compare_unpaired(_plain(2.0, 2.0), _plain(2.0, 2.0)), compare_unpaired(_plain(2, 2), _plain(3, 3))
    assert same is not None
    assert other is not None
    assert (same.difference, same.p) == (0.0, 1.0)
    assert other.p < 1e-9


def test_its_intervals_cover_at_least_95_percent() -> None:
    draw = random.Random(7)
    covered = 0
    for _ in range(2000):
        mine = _plain(*(draw.gauss(1.0, 1.0) for _ in range(3)))
        theirs = _plain(*(draw.gauss(0.0, 2.0) for _ in range(3)))
        found = compare_unpaired(mine, theirs)
        assert found is not None
        covered += found.low <= 1.0 <= found.high
    # 95 % at the least; 2000 draws put a true 95 % above 93.7 % with near certainty.
    assert covered / 2000 > 0.937
