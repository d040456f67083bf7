"""What is kept of a trained model's scores: rows with intervals, and per-example values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attention_arena.evaluation import Evaluation, chain_of
from attention_arena.objectives import Classification, LanguageModeling
from attention_arena.runs.quality import quality_rows, save_predictions
from attention_arena.statistics import quotient_of, wilson_interval
from attention_arena.task import Batch
from attention_arena.training import Outcome


def _evaluation(objective: Any, examples: dict[str, torch.Tensor]) -> Evaluation:
    sums = {name: float(values.double().sum()) for name, values in examples.items()}
    return Evaluation(objective.summarise(sums), sums, examples, 0.0)


@pytest.fixture
def classified() -> tuple[Classification, Evaluation]:
    correct = torch.arange(200) < 150
    examples = {"correct": correct, "nats": torch.rand(200), "target": torch.arange(200) % 10}
    objective = Classification(10)
    return objective, _evaluation(objective, {**examples, "count": torch.ones(200, dtype=torch.bool)})


def test_a_test_score_has_the_interval_of_its_examples(classified: Any) -> None:
    objective, evaluation = classified
    rows = quality_rows(objective, Outcome(best_validation={"accuracy": 74.0}, test_best=evaluation))
    by_phase = {(row.measure, row.phase): row for row in rows}
    score = by_phase["accuracy", "test, best step"]
    expected = wilson_interval(0.75, 200).times(100)
    assert (score.value, score.low, score.high) == (75.0, expected.low, expected.high)
    loss = by_phase["loss", "test, best step"]
    assert loss.low < loss.value < loss.high
    validation = by_phase["accuracy", "validation, best step"]
    assert (validation.value, validation.low) == (74.0, None)


def test_bits_and_perplexity_have_intervals_too() -> None:
    objective = LanguageModeling(256, unit="word", token_bytes=torch.full((256,), 5))
    tokens = torch.full((80,), 32.0)
    examples = {"nats": 32 * (3 + 0.1 * torch.randn(80).double()), "tokens": tokens, "bytes": 5 * tokens}
    rows = quality_rows(objective, Outcome(test_best=_evaluation(objective, examples)))
    assert {row.measure for row in rows} == {"perplexity", "bits_per_word", "bits_per_byte", "loss"}
    assert all(row.low < row.value < row.high for row in rows)


def test_a_score_that_its_examples_do_not_give_has_no_interval(classified: Any) -> None:
    objective, evaluation = classified
    other = evaluation._replace(metrics={**evaluation.metrics, "accuracy": 12.0})
    rows = quality_rows(objective, Outcome(test_best=other))
    assert [row.low is None for row in rows] == [True, False]


def test_nats_that_are_not_finite_leave_the_score_without_interval(classified: Any) -> None:
    objective, evaluation = classified
    broken = {**evaluation.examples, "nats": torch.full((200,), torch.inf)}
    rows = quality_rows(objective, Outcome(test_best=evaluation._replace(examples=broken)))
    assert [row.low is None for row in rows] == [False, True]


def test_predictions_come_back_as_the_score_they_were(classified: Any, tmp_path: Path) -> None:
    _, evaluation = classified
    save_predictions(tmp_path / "predictions.npz", Outcome(test_best=evaluation, test_last=evaluation))
    with np.load(tmp_path / "predictions.npz", allow_pickle=False) as found:
        arrays = dict(found)
    # The best step was the last one, so that one copy serves for both.
    assert sorted(arrays) == ["best_correct", "best_count", "best_nats", "best_target"]
    assert arrays["best_target"].dtype == np.uint8
    score = quotient_of("accuracy", "%", {name.removeprefix("best_"): values for name, values in arrays.items()})
    assert score is not None
    assert score.value == 75.0


def test_another_last_step_is_kept_beside_the_best(classified: Any, tmp_path: Path) -> None:
    _, evaluation = classified
    last = evaluation._replace(examples={"correct": torch.zeros(3, dtype=torch.bool)})
    save_predictions(tmp_path / "predictions.npz", Outcome(test_best=evaluation, test_last=last))
    with np.load(tmp_path / "predictions.npz", allow_pickle=False) as found:
        assert found["last_correct"].tolist() == [False] * 3


def test_rows_that_continue_each_other_have_one_number() -> None:
    def batch(resumes: list[bool] | None, rows: int) -> Batch:
        tokens = torch.zeros(rows, 4, dtype=torch.int64)
        return Batch(tokens, tokens, resumes=None if resumes is None else torch.tensor(resumes))

    first = chain_of(batch([False, False], 2), torch.empty(0, dtype=torch.int64), 0)
    second = chain_of(batch([True, False], 2), first, 2)
    third = chain_of(batch([True, True], 2), second, 4)
    assert (first.tolist(), second.tolist(), third.tolist()) == ([0, 1], [0, 3], [0, 3])
    assert chain_of(batch(None, 3), third, 6).tolist() == [6, 7, 8]
