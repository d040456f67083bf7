import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional

from attention_arena.objectives.vocabulary import VocabularyHead
from attention_arena.rows import RowSplit
from attention_arena.task import TaskError
from attention_arena.testing import TaskCase, task_cases
from attention_arena_tasks import associative_recall
from attention_arena_tasks.associative_recall.data import AssociativeRecallOptions, generate, load, needs
from attention_arena_tasks.associative_recall.draws import distinct, weighted
from attention_arena_tasks.associative_recall.generate import slot_weights

SMALL = {"length": 32, "n_pairs": 4, "vocab_size": 64, "n_train": 300, "n_validation": 40, "n_test": 200}


def options(**settings: object) -> AssociativeRecallOptions:
    return AssociativeRecallOptions.model_validate(settings)


def rows_with(**settings: object) -> RowSplit:
    return generate(options(**{**SMALL, **settings}))["test"]


def chi_square(counts: npt.NDArray[np.int64], chances: npt.NDArray[np.float64]) -> float:
    """Return by how many standard deviations the statistic exceeds its mean under the hypothesis."""
    expected = counts.sum() * chances
    statistic = float(((counts - expected) ** 2 / expected).sum())
    freedom = len(counts) - 1
    return (statistic - freedom) / (2 * freedom) ** 0.5


@pytest.mark.parametrize("case", task_cases(associative_recall.register_tasks()))
def test_it_keeps_the_contract(case: TaskCase, tmp_path: Path) -> None:
    case(tmp_path)


class TestRows:
    def test_pairs_of_a_distinct_key_and_a_distinct_value_come_first(self) -> None:
        pairs = rows_with().tokens[:, :8]
        for row in pairs.tolist():
            keys, values = row[::2], row[1::2]
            assert len(set(keys)) == len(set(values)) == 4
            assert min(keys) >= 1
            assert max(keys) < 32 <= min(values)
            assert max(values) < 64

    def test_every_key_is_asked_for_once_behind_the_pairs_and_its_value_is_right(self) -> None:
        split = rows_with()
        for tokens, places, answers in zip(split.tokens, split.places, split.answers, strict=True):
            value_of = dict(zip(tokens[:8:2].tolist(), tokens[1:8:2].tolist(), strict=True))
            assert places.min() >= 8
            assert (places % 2 == 0).all()
            assert sorted(tokens[places].tolist()) == sorted(value_of)
            assert [value_of[key] for key in tokens[places].tolist()] == answers.tolist()

    def test_the_rest_is_noise_from_the_whole_vocabulary(self) -> None:
        split = rows_with(n_test=2000)
        rest = np.ones(split.tokens.shape, dtype=bool)
        rest[:, :8] = False
        np.put_along_axis(rest, split.places.astype(np.int64), False, axis=1)
        counts = np.bincount(split.tokens[rest], minlength=64)
        assert abs(chi_square(counts, np.full(64, 1 / 64))) < 4

    def test_without_noise_the_rest_is_nothing(self) -> None:
        split = rows_with(noise=False)
        assert ((split.tokens[:, 8:] > 0).sum(axis=1) == 4).all()

    def test_answers_are_never_shown_behind_their_query(self) -> None:
        split = rows_with(noise=False)
        behind = np.take_along_axis(split.tokens, split.places.astype(np.int64) + 1, axis=1)
        assert not behind.any()

    def test_an_odd_length_and_the_tightest_one_are_possible(self) -> None:
        assert rows_with(length=33).tokens.shape == (200, 33)
        tight = rows_with(length=16)
        assert (np.sort(tight.places, axis=1) == [8, 10, 12, 14]).all()


class TestDraws:
    def test_distinct_draws_are_uniform_over_ordered_tuples(self) -> None:
        drawn = distinct(np.random.PCG64(0), 12_000, 2, 4)
        counts = np.array([(drawn == pair).all(axis=1).sum() for pair in itertools.permutations(range(4), 2)])
        assert counts.sum() == 12_000
        assert abs(chi_square(counts, np.full(12, 1 / 12))) < 4

    def test_weighted_draws_follow_the_weights_of_what_is_left(self) -> None:
        weights = [5, 1, 3, 2, 9]
        drawn = weighted(np.random.PCG64(0), 40_000, 3, weights)
        tuples = list(itertools.permutations(range(5), 3))
        chances = []
        for drawn_so in tuples:
            left, chance = sum(weights), 1.0
            for each in drawn_so:
                chance *= weights[each] / left
                left -= weights[each]
            chances.append(chance)
        counts = np.array([(drawn == each).all(axis=1).sum() for each in tuples])
        assert sum(chances) == pytest.approx(1)
        assert abs(chi_square(counts, np.array(chances))) < 4

    @pytest.mark.parametrize("n", [1, 2, 7, 8])
    def test_all_there_is_can_be_drawn(self, n: int) -> None:
        for drawn in (distinct(np.random.PCG64(1), 20, n, n), weighted(np.random.PCG64(1), 20, n, [3] * n)):
            assert (np.sort(drawn, axis=1) == np.arange(n)).all()

    @pytest.mark.parametrize("power", [0.0, 0.01, 0.5, 1.0])
    def test_slots_weigh_by_a_power_law(self, power: float) -> None:
        weights = slot_weights(500, power)
        law = np.arange(1, 501) ** (power - 1)
        np.testing.assert_allclose(
            np.array(weights) / sum(weights), law / law.sum(), rtol=3e-6
        )  # cut to integers of 700,000 and more
        assert min(weights) >= 1
        assert sum(weights) < 2**32

    def test_the_first_query_of_the_stream_comes_where_the_law_says(self) -> None:
        split = rows_with(n_test=8000, length=24)
        first = (split.places[:, 0].astype(np.int64) - 8) // 2  # the pair whose slot is drawn first
        law = np.arange(1, 9) ** (0.01 - 1)
        assert abs(chi_square(np.bincount(first, minlength=8), law / law.sum())) < 4


class TestData:
    def test_who_looks_the_key_up_is_always_right(self, tmp_path: Path) -> None:
        data = load(options(**SMALL), tmp_path)
        assert isinstance(data.test, RowSplit)
        (batch,) = data.test.batches(200)
        keys, values = batch.tokens[:, :8:2], batch.tokens[:, 1:8:2]
        same = (batch.tokens[:, :, None] == keys[:, None]).double()  # (B, T, P)
        logits = torch.einsum("btp,bpv->btv", same, functional.one_hot(values, 64).double())
        head = VocabularyHead(64, 64).double()
        head.weight.data = 50 * torch.eye(64, dtype=torch.float64)
        sums = data.objective.score(head, logits, batch).sums
        assert data.objective.summarise({name: float(value) for name, value in sums.items()})["accuracy"] == 100.0
        assert data.objective.metrics[0].name == "accuracy"
        assert sums["tokens"] == 800

    def test_who_does_not_scores_what_the_baselines_say(self, tmp_path: Path) -> None:
        scores = load(options(**{**SMALL, "n_train": 3000, "n_test": 2000}), tmp_path).trivial_baselines
        assert scores["any value"] == pytest.approx(100 / 32)
        assert scores["any value of the row"] == 25
        assert 25 < scores["pair that is commonest at the place"] < 35  # early pairs tend to be asked for early
        assert 0 < scores["most recent value"] < 20

    def test_the_most_recent_value_is_the_last_one_before_the_query(self, tmp_path: Path) -> None:
        data = load(options(**SMALL, noise=False), tmp_path)
        assert isinstance(data.test, RowSplit)
        last = data.test.tokens[:, 7:8] == data.test.answers  # without noise it is the last pair's
        assert data.trivial_baselines["most recent value"] == pytest.approx(100 * float(last.mean())) == 25

    def test_a_seed_is_the_data(self) -> None:
        assert rows_with().content_hash[:16] == "5b7c0eaf8b1413ba"

    def test_another_seed_is_other_data_and_a_larger_train_split_leaves_the_test_alone(self) -> None:
        first, other, larger = (rows_with(**change).content_hash for change in ({}, {"seed": 1}, {"n_train": 1500}))
        assert first == larger != other

    def test_no_row_occurs_twice(self) -> None:
        tight = {"length": 4, "n_pairs": 1, "vocab_size": 6, "n_train": 20, "n_validation": 4, "n_test": 4}  # of 36
        rows = np.concatenate([split.tokens for split in generate(options(**tight)).values()])
        assert len(np.unique(rows, axis=0)) == 28

    def test_more_rows_than_there_are_is_an_error_that_leaves_nothing(self, tmp_path: Path) -> None:
        tight = {"length": 4, "n_pairs": 1, "vocab_size": 6, "n_train": 90, "n_validation": 4, "n_test": 4}
        with pytest.raises(TaskError, match="only 36 distinct sequences were found, but 98 are asked for"):
            load(options(**tight), tmp_path)
        assert not [path for path in (tmp_path / "associative_recall").iterdir() if path.suffix != ".lock"]

    def test_needs_agree_with_the_data(self, tmp_path: Path) -> None:
        data = load(options(**SMALL), tmp_path)
        asked = needs(options(**SMALL))
        assert (data.max_length, data.vocab_size) == (asked.max_length, 64)
        assert asked.causal
        assert data.source.kind == "generated"
        assert data.train.n_examples == 1200

    @pytest.mark.parametrize(
        ("settings", "complaint"),
        [
            ({"length": 63, "n_pairs": 16}, r"length must be at least 4 \* n_pairs \(64\)"),
            ({"n_pairs": 16, "vocab_size": 33}, r"vocab_size must be at least 2 \* n_pairs \+ 2 \(34\)"),
            ({"power": 1.5}, "power"),
            ({"n_pair": 3}, "n_pair"),
        ],
    )
    def test_options_that_cannot_be_are_refused(self, settings: dict[str, object], complaint: str) -> None:
        with pytest.raises(ValidationError, match=complaint):
            options(**settings)
