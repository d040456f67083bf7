from __future__ import annotations

import math

import numpy as np
import pytest

from attention_arena.statistics import Comparison, Quotient, compare, holm
from attention_arena.statistics.paired import SMALLEST_P, mcnemar
from tests.core.statistics.simulated import GAP, draw, truth


def _trials(table: np.ndarray) -> list[Quotient]:
    return [Quotient(row, np.ones_like(row), scale=100.0, whole=100.0) for row in table]


def _against(baseline: np.ndarray, variant: np.ndarray) -> Comparison:
    return compare(_trials(variant), _trials(baseline))


def _text(nats: np.ndarray, tokens: np.ndarray, **changes: object) -> list[Quotient]:
    return [Quotient(row, tokens, **changes) for row in nats]  # type: ignore[arg-type]


def test_a_difference_of_the_detectable_size_would_just_be_one() -> None:
    """With three seeds that vary it is larger than the seeds' deviation; of perplexities it is a ratio."""
    source = np.random.default_rng(0)
    found = _against(*draw(source, 3, 1000, 0.05))
    assert found.detectable(ratio=False) == pytest.approx(found.difference - found.low)
    nats = source.normal(2.0, 0.1, (3, 50))
    tokens = np.full(50, 1.0)
    ratio = compare(_text(nats + 0.01, tokens, exponential=True), _text(nats, tokens, exponential=True))
    assert ratio.detectable(ratio=True) == pytest.approx(ratio.difference / ratio.low)
    assert ratio.detectable(ratio=True) >= 1


CASES = [
    pytest.param(seeds, n, spread, shared, id=f"{seeds} seeds, {n} examples, spread {spread}, shared {shared}")
    for seeds in (1, 2, 3, 5)
    for n, spread, shared in ((500, 0.0, 0.5), (500, 0.05, 0.9), (2000, 0.05, 0.5), (1000, 0.2, 0.7))
    if seeds > 1 or spread == 0.0
]


@pytest.mark.parametrize(("n_seeds", "n", "seed_spread", "shared"), CASES)
def test_the_difference_is_covered_at_the_stated_rate(n_seeds: int, n: int, seed_spread: float, shared: float) -> None:
    source = np.random.default_rng(n_seeds * n)
    low, high = truth(seed_spread)
    hits, n_simulations = 0, 300
    for _ in range(n_simulations):
        found = _against(*draw(source, n_seeds, n, seed_spread, shared=shared))
        hits += found.low <= 100 * (high - low) <= found.high
    # Four standard errors of a 95 % rate over 300 samples are 5 %. One seed: that rate; more: at least that.
    assert hits / n_simulations >= 0.90
    if n_seeds == 1:
        assert hits / n_simulations == pytest.approx(0.95, abs=0.05)


@pytest.mark.parametrize("n_seeds", [2, 3, 5])
def test_where_seeds_are_all_the_difference_is_covered_in_95_of_100(n_seeds: int) -> None:
    source = np.random.default_rng(n_seeds)
    low, high = truth(seed_spread=0.5)
    hits = 0
    for _ in range(600):
        found = _against(*draw(source, n_seeds, 2000, seed_spread=0.5))
        hits += found.low <= 100 * (high - low) <= found.high
    # Four standard errors over 600 samples are 3.6 %.
    assert hits / 600 == pytest.approx(0.95, abs=0.036)


@pytest.mark.parametrize("n_seeds", [1, 2, 3])
def test_equal_variants_are_told_apart_in_at_most_5_of_100_studies(n_seeds: int) -> None:
    source = np.random.default_rng(11 + n_seeds)
    spread = 0.1 if n_seeds > 1 else 0.0
    found = [_against(*draw(source, n_seeds, 500, spread, gap=0.0)) for _ in range(400)]
    # Four standard errors of 5 % over 400 samples are 4.4 %.
    assert sum(each.p < 0.05 for each in found) / 400 <= 0.05 + 0.044


def test_resampling_two_seeds_would_cover_far_less_than_it_states() -> None:
    source = np.random.default_rng(5)
    low, high = truth(seed_spread=0.2)
    hits = 0
    for _ in range(100):
        baseline, variant = draw(source, 2, 500, seed_spread=0.2)
        differences = variant - baseline
        seeds = source.integers(0, 2, (200, 2))
        counts = source.multinomial(500, np.full(500, 1 / 500), size=200)
        means = np.einsum("rsn,rn->r", differences[seeds], counts) / 1000
        hits += np.quantile(means, 0.025) <= high - low <= np.quantile(means, 0.975)
    assert hits / 100 < 0.8


def test_pairing_sees_what_unpaired_intervals_do_not() -> None:
    source = np.random.default_rng(3)
    easy = source.random(2000) < 0.5
    better = easy | (source.random(2000) < 0.03)
    found = _against(easy[None].astype(float), better[None].astype(float))
    assert found.p < 1e-6
    assert 0 < found.low < found.high < 4


def test_one_seed_of_accuracy_is_tested_by_mcnemar() -> None:
    # 8 examples that only the variant got right, 2 that only the baseline did: 2 * P(X <= 2) of 10 fair coins.
    differences = np.array([1.0] * 8 + [-1.0] * 2 + [0.0] * 90)
    baseline = np.where(differences < 0, 1.0, 0.0)
    found = _against(baseline[None], (baseline + differences)[None])
    assert found.p == pytest.approx(2 * (1 + 10 + 45) / 1024)
    assert (found.difference, found.n_seeds, found.n_examples) == (pytest.approx(6.0), 1, 100)


def test_mcnemars_p_of_no_differences_is_one() -> None:
    assert mcnemar(np.zeros(50)) == 1.0
    assert mcnemar(np.array([1.0, -1.0])) == 1.0


def test_models_that_never_differ_leave_room_for_a_difference_unseen() -> None:
    same = np.ones((1, 100))
    found = _against(same, same)
    assert (found.difference, found.p) == (0.0, 1.0)
    assert found.low < 0 < found.high


@pytest.mark.parametrize("n_seeds", [2, 3])
def test_the_interval_leaves_out_zero_exactly_where_p_is_below_5_percent(n_seeds: int) -> None:
    source = np.random.default_rng(n_seeds)
    for gap in (0.0, 0.05, 0.1, 0.2, 0.4) * 8:
        found = _against(*draw(source, n_seeds, 500, 0.02, gap=gap))
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_several_seeds_are_never_surer_than_their_examples_allow() -> None:
    source = np.random.default_rng(9)
    [baseline], [variant] = draw(source, 1, 500, 0.0)
    one = _against(baseline[None], variant[None])
    # Five seeds that say the same are one seed's worth of examples.
    five = _against(np.stack([baseline] * 5), np.stack([variant] * 5))
    assert five.high - five.low == pytest.approx(one.high - one.low, rel=1e-9)


def test_a_variant_and_the_baseline_in_each_others_place_differ_in_sign_alone() -> None:
    baseline, variant = draw(np.random.default_rng(2), 3, 400, 0.1)
    there, back = _against(baseline, variant), _against(variant, baseline)
    assert (back.difference, back.low, back.high) == pytest.approx((-there.difference, -there.high, -there.low))
    assert back.p == pytest.approx(there.p)


def test_bits_are_compared_by_sums_over_rows_of_unequal_length() -> None:
    tokens = np.array([10.0, 1000.0, 10.0, 1000.0] * 20)
    theirs, mine = 2.0 * tokens[None], 1.9 * tokens[None]
    mine[0, ::2] += 5.0
    found = compare(_text(mine, tokens, scale=1 / math.log(2)), _text(theirs, tokens, scale=1 / math.log(2)))
    assert found.difference == pytest.approx((40 * 5.0 - 0.1 * tokens.sum()) / tokens.sum() / math.log(2))
    assert found.high < 0


def test_perplexities_are_compared_as_their_ratio() -> None:
    source = np.random.default_rng(4)
    tokens = source.integers(20, 60, 300).astype(float)
    difficulty = source.normal(size=300)
    theirs = (tokens * (4 + 0.5 * difficulty))[None]
    mine = (tokens * (3.9 + 0.5 * difficulty + 0.01 * source.normal(size=300)))[None]
    found = compare(_text(mine, tokens, exponential=True), _text(theirs, tokens, exponential=True))
    assert found.difference == pytest.approx(math.exp(-0.1), abs=0.003)
    assert found.low < found.difference < found.high < 1
    assert found.p < 1e-6


@pytest.mark.parametrize("n_seeds", [1, 3])
def test_the_difference_over_text_is_covered_at_the_stated_rate(n_seeds: int) -> None:
    source = np.random.default_rng(n_seeds)
    tokens = np.full(800, 64.0)
    hits, n_simulations = 0, 300
    for _ in range(n_simulations):
        drift = np.repeat(source.normal(size=100), 8)  # eight rows in a row are about the same thing
        seeds = 0.01 * source.normal(size=(n_seeds, 1)) if n_seeds > 1 else 0.0
        nats = 64 * (0.05 + 0.1 * drift + 0.1 * source.normal(size=(n_seeds, 800)) + seeds)
        found = compare(_text(nats, tokens), _text(np.zeros_like(nats), tokens))
        hits += found.low <= 0.05 <= found.high
    # Four standard errors over 300 samples are 5 %.
    assert hits / n_simulations >= 0.90


def test_holms_p_values_are_those_worked_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_hopeless_difference_has_the_smallest_p_that_is_told() -> None:
    tokens = np.ones(100)
    nats = np.zeros((1, 100))
    assert compare(_text(nats + 1, tokens), _text(nats, tokens)).p == SMALLEST_P


@pytest.mark.parametrize(
    ("variant", "baseline", "message"),
    [
        (np.ones((2, 5)), np.ones((1, 5)), "the same seeds"),
        (np.ones((1, 5)), np.ones((1, 6)), "the examples are not the same"),
        (np.ones((1, 1)), np.ones((1, 1)), "at least 2 examples"),
    ],
    ids=["seeds", "examples", "one example"],
)
def test_what_cannot_be_paired_is_refused(variant: np.ndarray, baseline: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _against(baseline, variant)


def test_texts_read_in_another_order_are_refused() -> None:
    nats, tokens = np.ones((1, 6)), np.ones(6)
    side_by_side = _text(nats, tokens, chain=np.arange(6) % 2)
    with pytest.raises(ValueError, match="not in the same order"):
        compare(side_by_side, _text(nats, tokens, chain=np.arange(6) % 3))


def test_the_simulated_gap_is_the_one_that_is_looked_for() -> None:
    low, high = truth(0.0)
    source = np.random.default_rng(0)
    baseline, variant = draw(source, 1, 400_000, 0.0)
    assert GAP > 0
    assert variant.mean() - baseline.mean() == pytest.approx(high - low, abs=0.004)
