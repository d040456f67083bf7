from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from attention_arena.statistics import Quotient, quotient_of, wilson_interval
from attention_arena.statistics.quotients import MOST_BLOCKS, linearised

NATS, TOKENS = np.array([10.0, 30.0, 20.0]), np.array([10.0, 20.0, 10.0])


def _quotient(metric: str, unit: str | None = None, **arrays: Any) -> Quotient:
    found = quotient_of(metric, unit, arrays)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("metric", "unit", "arrays", "value"),
    [
        ("accuracy", "%", {"correct": np.array([True, False, True, True])}, 75.0),
        ("accuracy", "", {"correct": np.array([1, 0])}, 0.5),
        ("accuracy", "%", {"correct": np.array([1, 0, 0]), "count": np.array([True, True, False])}, 50.0),
        ("accuracy", "%", {"correct": np.array([3.0, 1.0]), "tokens": np.array([4.0, 4.0])}, 50.0),
        ("bits_per_byte", "bits", {"nats": NATS, "tokens": TOKENS}, 1.5 / math.log(2)),
        ("bits_per_byte", "bits", {"nats": NATS, "tokens": TOKENS, "bytes": 3 * TOKENS}, 0.5 / math.log(2)),
        ("bits_per_word", "bits", {"nats": NATS, "tokens": TOKENS, "bytes": 3 * TOKENS}, 1.5 / math.log(2)),
        ("bits_per_masked_byte", "bits", {"nats": NATS, "tokens": TOKENS}, 1.5 / math.log(2)),
        ("perplexity", "per word", {"nats": NATS, "tokens": TOKENS}, math.exp(1.5)),
        ("masked_perplexity", "per masked word", {"nats": NATS, "tokens": TOKENS}, math.exp(1.5)),
        ("loss", "nats", {"nats": NATS}, 20.0),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_score_is_its_sums_over_each_other(metric: str, unit: str, arrays: dict[str, Any], value: float) -> None:
    assert _quotient(metric, unit, **arrays).value == pytest.approx(value)


def test_what_is_no_quotient_of_what_was_kept_is_none() -> None:
    assert quotient_of("bleu", "%", {"nats": NATS}) is None
    assert quotient_of("accuracy", "%", {"nats": NATS}) is None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"nats": np.array([1.0, math.nan])}, "finite"),
        ({"nats": NATS, "tokens": TOKENS[:2]}, "unequal lengths"),
        ({"nats": NATS, "tokens": np.zeros(3)}, "nothing was scored"),
        ({"nats": np.zeros(0)}, "nothing was scored"),
        ({"nats": NATS[:, None]}, r"must be numbers \(N,\)"),
        ({"nats": np.array(["a", "b"])}, r"must be numbers \(N,\)"),
    ],
    ids=["not finite", "unequal", "no tokens", "no rows", "a table", "words"],
)
def test_arrays_that_contradict_each_other_are_refused(arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quotient_of("loss", "nats", arrays)


def test_trials_have_wilsons_interval() -> None:
    found = _quotient("accuracy", "%", correct=np.arange(10) < 8).interval()
    assert found == wilson_interval(0.8, 10).times(100)


def test_running_text_is_cut_in_its_order_into_few_blocks() -> None:
    # Two texts of 100 rows, read side by side: rows 0, 2, 4 are the first one's.
    chain = np.arange(200) % 2
    score = _quotient("loss", "nats", nats=np.ones(200), tokens=np.ones(200), chain=chain)
    blocks = score.blocks(np.where(chain == 0, np.arange(200.0), 0.0))
    assert len(blocks) == MOST_BLOCKS
    assert blocks[: MOST_BLOCKS // 2].tolist() == sorted(blocks[: MOST_BLOCKS // 2].tolist())
    assert not blocks[MOST_BLOCKS // 2 :].any()
    assert blocks.sum() == np.arange(0.0, 200.0, 2.0).sum()


def test_fewer_rows_than_blocks_are_blocks_themselves() -> None:
    assert _quotient("loss", "nats", nats=NATS).blocks(NATS).tolist() == NATS.tolist()


def test_linearised_values_have_the_quotient_for_their_mean() -> None:
    assert linearised(NATS, TOKENS).mean() == pytest.approx(1.5)
    table = linearised(np.stack([NATS, 2 * NATS]), TOKENS)
    assert table.mean(axis=1) == pytest.approx([1.5, 3.0])


def test_the_interval_of_a_perplexity_is_that_of_its_logarithm() -> None:
    bits = _quotient("bits_per_word", "bits", nats=NATS, tokens=TOKENS).interval()
    found = _quotient("perplexity", "per word", nats=NATS, tokens=TOKENS).interval()
    assert bits.low is not None
    assert found.low == pytest.approx(2**bits.low)
    assert found.low < found.value < (found.high or 0)


def test_one_row_has_no_interval() -> None:
    assert _quotient("loss", "nats", nats=np.array([1.0])).interval().basis == "none"


def test_tokens_of_one_row_count_for_less_than_their_number() -> None:
    source = np.random.default_rng(0)
    rows = source.random(400) < 0.8
    together = _quotient("accuracy", "%", correct=50.0 * rows, tokens=np.full(400, 50.0)).interval()
    alone = wilson_interval(float(rows.mean()), 400).times(100)
    assert together.value == alone.value
    assert together.low == pytest.approx(alone.low, abs=1.5)
    assert together.high == pytest.approx(alone.high, abs=1.5)


def test_all_tokens_right_are_no_certainty() -> None:
    found = _quotient("accuracy", "%", correct=np.full(100, 8.0), tokens=np.full(100, 8.0)).interval()
    assert found.high == 100.0
    assert found.low == wilson_interval(1.0, 100).times(100).low


@pytest.mark.parametrize("memory", [0.0, 0.8])
def test_the_interval_over_text_covers_the_truth_though_rows_resemble_their_neighbours(memory: float) -> None:
    source = np.random.default_rng(1)
    n, n_simulations, hits, naive = 1000, 400, 0, 0
    tokens = np.full(n, 64.0)
    for _ in range(n_simulations):
        shocks = source.normal(size=n + 100)
        rows = np.zeros(n + 100)
        for index in range(1, n + 100):
            rows[index] = memory * rows[index - 1] + shocks[index]
        score = _quotient("loss", "nats", nats=64 * (2 + 0.2 * rows[100:]), tokens=tokens)
        found = score.interval()
        hits += (found.low or 0) <= 2.0 <= (found.high or 0)
        naive += abs(score.value - 2.0) <= 1.96 * float((score.numerators / 64).std(ddof=1)) / math.sqrt(n)
    # Four standard errors of a 95 % rate over 400 samples are 4.4 %; neighbours across a cut cost another point or two.
    assert hits / n_simulations > 0.90
    if memory:
        assert naive / n_simulations < 0.6
