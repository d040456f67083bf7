import math
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from attention_arena_tasks.language_model import baselines
from attention_arena_tasks.language_model.baselines import frequency_nats, pair_nats, table_nats, trivial_baselines

Ids = npt.NDArray[Any]


def draw(n: int, n_symbols: int, seed: int) -> Ids:
    """Symbols of which the low ones are much commoner, each drawn near the one before."""
    generator = np.random.default_rng(seed)
    steps = (generator.random(n) ** 3 * n_symbols).astype(np.int64)
    return (np.cumsum(steps) % n_symbols).astype(np.uint16)


def test_uniform_counts_need_eight_bits() -> None:
    every = np.arange(256, dtype=np.uint8)
    assert table_nats(np.tile(every, 4)[:-3], every, 0, 256) / math.log(2) == pytest.approx(8.0, abs=0.01)


@pytest.mark.parametrize("n_symbols", [4, 9, 256])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_nats_are_those_of_counting_one_by_one(order: int, n_symbols: int, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = draw(300, min(n_symbols, 9), 0), draw(50, min(n_symbols, 9), 1)
    counts: Counter[tuple[int, ...]] = Counter()
    padded = [0] * order + train.tolist()
    for i in range(1, len(train)):
        counts[tuple(padded[i : i + order + 1])] += 1
    nats, padded = 0.0, [0] * order + test.tolist()
    for i in range(1, len(test)):
        key = tuple(padded[i : i + order + 1])
        total = sum(count for known, count in counts.items() if known[:-1] == key[:-1])
        nats -= math.log((counts[key] + 1) / (total + n_symbols))
    monkeypatch.setattr(baselines, "AT_ONCE", 7)
    assert table_nats(train, test, order, n_symbols) == pytest.approx(nats / 49)


def test_frequencies_of_a_large_vocabulary_are_counted_the_same_way() -> None:
    train, test = draw(3000, 200, 0), draw(500, 200, 1)
    assert frequency_nats(train, test, 200) == pytest.approx(table_nats(train, test, 0, 200))


def test_pairs_are_those_of_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test, n_symbols = draw(400, 30, 0), draw(200, 33, 1), 40
    single = [(train[1:].tolist().count(word) + 1) / (len(train) - 1 + n_symbols) for word in range(n_symbols)]
    pairs = Counter(zip(train[:-1].tolist(), train[1:].tolist(), strict=True))
    nats, n_unseen = 0.0, 0
    for before, word in zip(test[:-1].tolist(), test[1:].tolist(), strict=True):
        n = sum(count for (context, _), count in pairs.items() if context == before)
        types = sum(context == before for context, _ in pairs)
        n_unseen += n == 0
        nats -= math.log((pairs[before, word] + types * single[word]) / (n + types) if n else single[word])
    assert n_unseen, "a context that never occurred is among them"
    monkeypatch.setattr(baselines, "AT_ONCE", 7)
    assert pair_nats(train, test, n_symbols) == pytest.approx(nats / (len(test) - 1))


def test_probabilities_of_pairs_sum_to_one() -> None:
    train, n_symbols = draw(200, 10, 0), 12
    for context in (0, 3, 11):
        costs = [pair_nats(train, np.array([context, word], np.uint16), n_symbols) for word in range(n_symbols)]
        assert sum(math.exp(-cost) for cost in costs) == pytest.approx(1.0)


@pytest.mark.parametrize("n_symbols", [12, 300])
def test_context_helps_on_text_that_repeats(n_symbols: int) -> None:
    text = np.frombuffer(b"abracadabra " * 500, dtype=np.uint8).astype(np.uint16) % n_symbols
    scores = list(trivial_baselines(text, text[:600], n_symbols, "byte").values())
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == (3 if n_symbols <= 256 else 2)


def test_words_are_scored_by_perplexity_and_others_by_bits() -> None:
    train, test = draw(3000, 300, 0), draw(500, 300, 1)
    words, characters = (trivial_baselines(train, test, 300, unit) for unit in ("word", "character"))
    assert list(words) == ["word frequencies", "word pairs"]
    assert list(characters) == ["character frequencies", "character pairs"]
    for perplexity, bits in zip(words.values(), characters.values(), strict=True):
        assert math.log2(perplexity) == pytest.approx(bits)


def test_pairs_of_a_huge_text_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "PAIRS_AT_MOST", 2999)
    assert list(trivial_baselines(draw(3000, 300, 0), draw(500, 300, 1), 300, "word")) == ["word frequencies"]
