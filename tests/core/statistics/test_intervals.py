from __future__ import annotations

import math
import random

import numpy as np
import pytest

from attention_arena.statistics import Interval, geometric_mean, mean_interval, score_interval, wilson_interval
from attention_arena.statistics.intervals import critical
from tests.core.statistics.simulated import draw, truth


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
    ("degrees", "expected"), [(1, 12.7062047), (2, 4.3026527), (39, 2.0226909), (math.inf, 1.9599640)]
)
def test_critical_values_are_those_of_the_tables(degrees: float, expected: float) -> None:
    assert critical(degrees) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [(8, 10, 0.4901625, 0.9433178), (0, 10, 0.0, 0.2775328), (10, 10, 0.7224672, 1.0), (1, 1, 0.2065493, 1.0)],
)
def test_wilson_intervals_agree_with_published_values(correct: int, n: int, low: float, high: float) -> None:
    found = wilson_interval(correct / n, n)
    assert found.low == pytest.approx(low, abs=1e-6)
    assert found.high == pytest.approx(high, abs=1e-6)
    assert found.basis == "examples"


def test_the_mean_interval_covers_the_truth_in_95_of_100_samples() -> None:
    source = random.Random(0)
    hits = sum(_covers(mean_interval([source.gauss(1, 2) for _ in range(3)]), 1.0) for _ in range(2000))
    # Four standard errors of a 95 % rate over 2000 samples are 2 %.
    assert hits / 2000 == pytest.approx(0.95, abs=0.02)


def test_the_wilson_interval_covers_the_truth_in_95_of_100_samples() -> None:
    source = random.Random(1)
    hits = 0
    for _ in range(2000):
        share = source.uniform(0.1, 0.9)
        hits += _covers(wilson_interval(sum(source.random() < share for _ in range(60)) / 60, 60), share)
    assert hits / 2000 == pytest.approx(0.95, abs=0.02)


def _covers(interval: Interval, expected: float) -> bool:
    assert interval.low is not None
    assert interval.high is not None
    return interval.low <= expected <= interval.high


def _score_of(correct: np.ndarray) -> Interval:
    """Return the score interval of a table (S, N) of successes."""
    shares = [float(share) for share in correct.mean(axis=1)]
    return score_interval(shares, [wilson_interval(share, correct.shape[1]) for share in shares], 1.0)


@pytest.mark.parametrize(("n", "n_simulations"), [(500, 500), (2000, 200)])
@pytest.mark.parametrize("n_seeds", [1, 2, 3, 5])
@pytest.mark.parametrize("seed_spread", [0.0, 0.03, 0.1])
def test_a_score_interval_covers_what_another_training_and_test_set_would_give(
    n: int, n_simulations: int, n_seeds: int, seed_spread: float
) -> None:
    # With one seed there is nothing to tell the spread of seeds by, so the promise is of that trained model alone.
    spread = seed_spread if n_seeds > 1 else 0.0
    source = np.random.default_rng(n_seeds)
    expected, _ = truth(seed_spread=spread)
    hits = sum(
        _covers(_score_of(draw(source, n_seeds, n, seed_spread=spread)[0]), expected) for _ in range(n_simulations)
    )
    # At least 95 %, four standard errors of that rate allowed for.
    assert hits / n_simulations >= 0.95 - 4 * math.sqrt(0.95 * 0.05 / n_simulations)


@pytest.mark.parametrize("n_seeds", [2, 3, 5])
def test_where_seeds_are_all_the_score_interval_covers_95_of_100(n_seeds: int) -> None:
    source = np.random.default_rng(7)
    expected, _ = truth(seed_spread=0.5)
    hits = sum(_covers(_score_of(draw(source, n_seeds, 4000, seed_spread=0.5)[0]), expected) for _ in range(600))
    # Four standard errors over 600 samples are 3.6 %.
    assert hits / 600 == pytest.approx(0.95, abs=0.036)


@pytest.mark.parametrize("n_seeds", [3, 5])
def test_seeds_alone_would_not_cover_the_choice_of_test_examples(n_seeds: int) -> None:
    source = np.random.default_rng(8)
    tables = [draw(source, n_seeds, 500, seed_spread=0.0, example_spread=2.0)[0] for _ in range(300)]
    expected, _ = truth(seed_spread=0.0, example_spread=2.0)
    alone = sum(_covers(mean_interval(table.mean(axis=1).tolist()), expected) for table in tables)
    both = sum(_covers(_score_of(table), expected) for table in tables)
    assert alone / 300 < 0.90
    assert both / 300 > 0.93


def test_two_sources_add_up_by_squares() -> None:
    found = score_interval([0.4, 0.6], [Interval(0.4, 0.3, 0.5, 9, "examples"), Interval(0.6, 0.5, 0.8, 9, "examples")])
    over_seeds = mean_interval([0.4, 0.6])
    assert over_seeds.high is not None
    assert found.low == pytest.approx(0.5 - math.hypot(over_seeds.high - 0.5, 0.1))
    assert found.high == pytest.approx(0.5 + math.hypot(over_seeds.high - 0.5, math.sqrt((0.1**2 + 0.2**2) / 2)))
    assert (found.n, found.basis) == (2, "seeds and examples")


def test_a_share_stays_between_nothing_and_all() -> None:
    within = [wilson_interval(share, 50).times(100) for share in (0.9, 1.0)]
    assert score_interval([90.0, 100.0], within, 100.0).high == 100.0
    assert score_interval([0.0, 8.0], [wilson_interval(0, 50).times(100)] * 2, 100.0).low == 0.0


def test_one_seed_has_the_interval_of_its_examples() -> None:
    assert score_interval([80.0], [wilson_interval(0.8, 10).times(100)]) == Interval(
        80.0, pytest.approx(49.01625, abs=1e-4), pytest.approx(94.33178, abs=1e-4), 10, "examples"
    )


def test_seeds_without_examples_have_the_t_interval_alone() -> None:
    none = Interval(80.0, None, None, 1, "none")
    assert score_interval([80.0, 82.0], [none, none]) == mean_interval([80.0, 82.0])
    assert score_interval([80.0], [none]).basis == score_interval([80.0]).basis == "none"


def test_intervals_overlap_where_they_share_a_point() -> None:
    low, high = Interval(1, 0, 2, 3, "seeds"), Interval(3, 2, 4, 3, "seeds")
    assert low.overlaps(high) is True
    assert high.overlaps(low) is True
    assert low.overlaps(high._replace(low=2.1)) is False
    assert low.overlaps(Interval(1, None, None, 1, "none")) is None


def test_the_geometric_mean_of_ratios_is_the_ratio_of_geometric_means() -> None:
    assert geometric_mean([1.0, 4.0]) == pytest.approx(2.0)
    assert geometric_mean([13802.0]) == geometric_mean([13802.0] * 3) == 13802.0
    assert geometric_mean([2 / 3, 5 / 7]) == pytest.approx(geometric_mean([2, 5]) / geometric_mean([3, 7]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval([]), "at least 1 value"),
        (lambda: mean_interval([1.0, math.nan]), "must be finite"),
        (lambda: wilson_interval(1.5, 10), "between 0 and 1"),
        (lambda: wilson_interval(0.5, 0), "at least 1 trial"),
        (lambda: geometric_mean([1.0, 0.0]), "positive"),
    ],
    ids=["nothing", "not finite", "no share", "no trial", "zero"],
)
def test_what_cannot_be_computed_is_refused_with_a_reason(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=message):
        call()
