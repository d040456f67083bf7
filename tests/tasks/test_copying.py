import math
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional

from attention_arena.objectives.vocabulary import VocabularyHead
from attention_arena.rows import RowSplit
from attention_arena.task import Batch, TaskData, TaskError
from attention_arena.testing import TaskCase, task_cases
from attention_arena_tasks import copying
from attention_arena_tasks.copying.data import CopyingOptions, generate, load, needs

SMALL = {"length": 32, "n_symbols": 15, "n_train": 200, "n_validation": 30, "n_test": 50}
LAGGED = {**SMALL, "kind": "lagged", "lags": (5,), "copy_probability": 0.8}
TWO = {**LAGGED, "lags": (3, 7)}


def options(**settings: object) -> CopyingOptions:
    return CopyingOptions.model_validate(settings)


def whole(split: RowSplit) -> Batch:
    (batch,) = split.batches(len(split.tokens))
    return batch


def metrics_of(data: TaskData, logits: torch.Tensor) -> dict[str, float]:
    """Score logits (B, T, V) for the test split as the arena would score a model's."""
    assert isinstance(data.test, RowSplit)
    head = VocabularyHead(data.vocab_size, data.vocab_size).double()
    head.weight.data = torch.eye(data.vocab_size, dtype=torch.float64)
    score = data.objective.score(head, logits.double().clamp(min=-1e3), whole(data.test))
    return data.objective.summarise({name: float(value) for name, value in score.sums.items()})


@pytest.mark.parametrize("case", task_cases(copying.register_tasks()))
def test_it_keeps_the_contract(case: TaskCase, tmp_path: Path) -> None:
    case(tmp_path)


class TestDuplication:
    def test_a_row_is_a_marked_word_twice(self) -> None:
        for split in generate(options(**SMALL)).values():
            first, second = split.tokens[:, :16], split.tokens[:, 16:]
            assert (first == second).all()
            assert (first[:, 0] == 0).all()
            assert first[:, 1:].min() == 1
            assert first[:, 1:].max() == 15

    def test_the_second_word_alone_is_scored_and_each_symbol_is_the_next_token(self) -> None:
        split = generate(options(**SMALL))["test"]
        batch = whole(split)
        assert batch.scored is not None
        assert torch.nonzero(batch.scored[0]).flatten().tolist() == list(range(16, 31))
        following = batch.tokens[:, 1:]
        scored = batch.scored[:, :-1]
        assert torch.equal(batch.targets[:, :-1][scored], following[scored])
        assert split.n_examples == 50 * 15

    def test_the_default_is_the_papers(self) -> None:
        default = options(n_train=1, n_validation=1, n_test=1)
        split = generate(default)["test"]
        assert (default.length, split.answers.shape[1], int(split.tokens.max())) == (1024, 511, 127)

    def test_who_looks_half_a_row_back_is_always_right(self, tmp_path: Path) -> None:
        data = load(options(**SMALL), tmp_path)
        assert isinstance(data.test, RowSplit)
        tokens = whole(data.test).tokens
        guesses = functional.one_hot(tokens.roll(15, dims=1), 16).float() * 50  # what followed the same symbol
        assert metrics_of(data, guesses)["accuracy"] == 100.0
        assert data.objective.metrics[0].name == "accuracy"

    def test_nobody_who_does_not_look_back_does_better_than_chance(self, tmp_path: Path) -> None:
        baselines = load(options(**{**SMALL, "n_train": 2000, "n_test": 1000}), tmp_path).trivial_baselines
        assert baselines["uniform guess"] == pytest.approx(100 / 15)
        assert all(abs(score - 100 / 15) < 1.0 for score in baselines.values())  # 15,000 answers: 5 standard errors
        assert len(baselines) == 3


class TestLagged:
    def test_a_symbol_is_copied_as_often_as_is_asked(self) -> None:
        split = generate(options(**{**LAGGED, "n_test": 2000}))["test"]
        back = split.tokens[:, split.places.astype(int) - 4]  # the place predicts the next token, so 5 before that
        share = float((back == split.answers).mean())
        expected = 0.8 + 0.2 / 15
        assert share == pytest.approx(expected, abs=5 * math.sqrt(expected * (1 - expected) / split.answers.size))

    def test_the_other_symbols_are_uniform(self) -> None:
        split = generate(options(**{**LAGGED, "n_test": 2000}))["test"]
        back = split.tokens[:, split.places.astype(int) - 4]
        others = split.answers[back != split.answers]
        counts = np.bincount(others, minlength=16)
        assert counts[0] == 0
        assert ((counts[1:] - counts[1:].mean()) ** 2 / counts[1:].mean()).sum() < 36.1  # chi-square, 14, p = 0.001

    def test_rows_are_scored_once_the_longest_lag_has_passed(self) -> None:
        split = generate(options(**TWO))["test"]
        batch = whole(split)
        assert batch.scored is not None
        assert torch.nonzero(batch.scored[0]).flatten().tolist() == list(range(6, 32))
        assert torch.equal(batch.targets[:, 6:-1], batch.tokens[:, 7:])

    @pytest.mark.parametrize("settings", [LAGGED, TWO])
    def test_who_knows_the_rule_scores_the_optimum_that_the_source_states(
        self, tmp_path: Path, settings: dict[str, object]
    ) -> None:
        asked = options(**settings)
        data = load(asked, tmp_path)
        assert isinstance(data.test, RowSplit)
        tokens = whole(data.test).tokens
        chances = torch.full((*tokens.shape, 16), 0.2 / 15)
        chances[..., 0] = 0
        for lag in asked.lags:  # a place predicts the token after it, which is lag - 1 behind what it copies
            chances += 0.8 / len(asked.lags) * functional.one_hot(tokens.roll(lag - 1, dims=1), 16)
        bits = metrics_of(data, chances.log())["bits_per_symbol"]
        assert f"scores {bits:.4f} bits per symbol" in data.source.description
        assert data.objective.metrics[0].name == "bits_per_symbol"

    def test_the_optimum_of_one_lag_is_its_closed_form(self, tmp_path: Path) -> None:
        data = load(options(**{**LAGGED, "n_test": 4000}), tmp_path)
        stated = float(data.source.description.split("scores ")[1].split(" bits")[0])
        copied, other = 0.8 + 0.2 / 15, 0.2 / 15
        assert stated == pytest.approx(-copied * math.log2(copied) - 14 * other * math.log2(other), abs=0.05)

    @pytest.mark.parametrize(("probability", "bits"), [(1.0, 0.0), (0.0, math.log2(15))])
    def test_certainty_and_chance_are_the_ends(self, tmp_path: Path, probability: float, bits: float) -> None:
        data = load(options(**{**LAGGED, "copy_probability": probability}), tmp_path)
        assert f"scores {bits:.4f} bits" in data.source.description

    def test_the_optimum_is_no_trivial_baseline_and_counts_do_no_better_than_chance(self, tmp_path: Path) -> None:
        baselines = load(options(**{**LAGGED, "n_train": 2000}), tmp_path).trivial_baselines
        assert set(baselines) == {"uniform guess", "symbol frequencies", "symbol pairs"}
        assert all(abs(bits - math.log2(15)) < 0.05 for bits in baselines.values())

    def test_a_lag_of_one_is_what_counts_of_pairs_see(self, tmp_path: Path) -> None:
        data = load(options(**{**LAGGED, "lags": (1,), "n_train": 2000}), tmp_path)
        stated = float(data.source.description.split("scores ")[1].split(" bits")[0])
        assert data.trivial_baselines["symbol pairs"] == pytest.approx(stated, abs=0.02)


class TestData:
    def test_a_seed_is_the_data(self) -> None:
        hashes = [generate(options(**settings))["test"].content_hash[:16] for settings in (SMALL, LAGGED, TWO)]
        assert hashes == PINNED

    @pytest.mark.parametrize("settings", [SMALL, LAGGED])
    def test_another_seed_is_other_data_and_a_larger_train_split_leaves_the_test_alone(
        self, settings: dict[str, object]
    ) -> None:
        first, other, larger = (
            generate(options(**{**settings, **changes}))["test"].content_hash
            for changes in ({}, {"seed": 1}, {"n_train": 900})
        )
        assert first == larger != other

    def test_no_row_occurs_twice(self) -> None:
        tight = {"length": 8, "n_symbols": 4, "n_train": 40, "n_validation": 10, "n_test": 10}  # of 64 rows
        rows = np.concatenate([split.tokens for split in generate(options(**tight)).values()])
        assert len(np.unique(rows, axis=0)) == 60

    def test_more_rows_than_there_are_is_an_error_that_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(TaskError, match="only 64 distinct sequences were found, but 190 are asked for"):
            load(options(length=8, n_symbols=4, n_train=170, n_validation=10, n_test=10), tmp_path)
        assert not [path for path in (tmp_path / "copying").iterdir() if path.suffix != ".lock"]

    def test_what_a_kind_does_not_read_does_not_make_other_data(self, tmp_path: Path) -> None:
        for lags in ((5,), (6,)):
            load(options(**SMALL, lags=lags), tmp_path)
        assert len(list((tmp_path / "copying").glob("duplication-*"))) == 1

    def test_needs_agree_with_the_data(self, tmp_path: Path) -> None:
        data = load(options(**SMALL), tmp_path)
        asked = needs(options(**SMALL))
        assert (data.max_length, data.vocab_size) == (asked.max_length, 16)
        assert asked.causal
        assert data.source.kind == "generated"

    @pytest.mark.parametrize(
        ("settings", "complaint"),
        [
            ({"length": 33}, "length must be even, two words and two marks, got 33"),
            ({"kind": "lagged", "length": 32, "lags": (32,)}, r"lags must lie in 1 to 31 \(length - 1\)"),
            ({"kind": "lagged", "lags": (0, 3)}, "lags must lie in 1"),
            ({"kind": "lagged", "lags": (3, 3)}, "lags must differ"),
            ({"kind": "lagged", "copy_probability": 1.5}, "copy_probability"),
            ({"kind": "reversed"}, "kind"),
        ],
    )
    def test_options_that_cannot_be_are_refused(self, settings: dict[str, object], complaint: str) -> None:
        with pytest.raises(ValidationError, match=complaint):
            options(**settings)


PINNED = ["9292eb2e4a48e2ac", "33848703f335bd3c", "4f9de7e996b3dde1"]
