"""The training loop: learning, reproducibility, micro-batches, selection, divergence, state between segments."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from attention_arena.evaluation import evaluate
from attention_arena.layers import Attention, AttentionOutput, Stack
from attention_arena.model import SequenceModel, build_model
from attention_arena.objectives.classification import Classification
from attention_arena.objectives.language_modeling import LanguageModeling
from attention_arena.splits import ExampleSplit, StreamSplit
from attention_arena.study.schema import TrainingSettings
from attention_arena.task import Source, TaskData
from attention_arena.training import autocast_for, train
from attention_arena.variant import Capability, ModelSettings, Options, Variant
from attention_arena_variants.softmax import SOFTMAX

CPU = torch.device("cpu")
SETTINGS = ModelSettings(d_model=16, n_heads=2, n_layers=1, d_ff=16)


def examples(n: int, seed: int) -> ExampleSplit:
    """Sequences of 3 to 6 tokens whose class is the parity of their first token."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 7, n)
    tokens = rng.integers(1, 9, lengths.sum()).astype(np.uint8)
    offsets = np.concatenate([[0], lengths.cumsum()])
    return ExampleSplit(tokens, offsets, (tokens[offsets[:-1]] % 2).astype(np.uint8))


@pytest.fixture(scope="module")
def classification() -> TaskData:
    splits = [examples(n, seed) for seed, n in enumerate((256, 64, 64))]
    return TaskData(9, 6, Classification(2), *splits, Source("generated", "parity of the first token"))


@pytest.fixture(scope="module")
def stream() -> TaskData:
    rng = np.random.default_rng(0)
    parts = [StreamSplit(rng.integers(0, 5, n).astype(np.uint8), 8) for n in (2000, 300, 300)]
    return TaskData(5, 8, LanguageModeling(5), *parts, Source("generated", "noise"))


def model_for(data: TaskData, seed: int = 0, variant: Variant = SOFTMAX, **changes: object) -> SequenceModel:
    torch.manual_seed(seed)
    return build_model(variant, variant.options(), SETTINGS.model_copy(update=changes), data)


def recipe(**changes: object) -> TrainingSettings:
    fields = {"steps": 60, "batch_size": 32, "learning_rate": 1e-2, "evaluate_every": 20, "warmup_steps": 5}
    return TrainingSettings(**{**fields, **changes})


def test_training_learns_what_can_be_learnt(classification):
    outcome = train(model_for(classification), classification, recipe(steps=200), 0, CPU)
    assert outcome.status == "done"
    assert outcome.test_best.metrics["accuracy"] > 90
    assert outcome.steps == 200


@pytest.mark.parametrize("task", ["classification", "stream"])
def test_two_runs_of_one_spec_are_bit_identical(task, request):
    data = request.getfixturevalue(task)

    def run() -> tuple[list[tuple[object, ...]], dict[str, torch.Tensor]]:
        points = []
        model = model_for(data, dropout=0.1)
        torch.manual_seed(0)
        train(model, data, recipe(), 0, CPU, lambda step, _, *rest: points.append((step, *rest)))
        return points, model.state_dict()

    (points, weights), (again, weights_again) = run(), run()
    assert points == again
    assert all(torch.equal(weights[name], weights_again[name]) for name in weights)


def test_another_seed_sees_other_batches(classification):
    def losses(seed: int) -> list[float]:
        seen = []
        model = model_for(classification)
        train(model, classification, recipe(), seed, CPU, lambda *point: seen.append(point[4]))
        return seen

    assert losses(0) != losses(1)


@pytest.mark.parametrize("task", ["classification", "stream"])
def test_micro_batches_keep_the_effective_batch(task, request):
    data = request.getfixturevalue(task)

    def losses(size: int | None) -> list[float]:
        seen = []
        settings = recipe(steps=10, micro_batch_size=size, batch_size=12)
        model = model_for(data)
        train(model, data, settings, 0, CPU, lambda *point: seen.append(point[4]) if point[3] == "loss" else None)
        return seen

    # Sums in another order: float32 rounding, grown over ten steps.
    assert losses(4) == pytest.approx(losses(None), rel=1e-3)


def test_test_is_scored_at_the_best_validation_and_at_the_last_step(classification):
    points = []
    model = model_for(classification)
    outcome = train(
        model, classification, recipe(learning_rate=5e-2, schedule="constant"), 0, CPU, lambda *p: points.append(p)
    )
    validation = {
        step: value for step, _, split, metric, value in points if (split, metric) == ("validation", "accuracy")
    }
    assert list(validation) == [20, 40, 60]
    assert outcome.best_step == max(validation, key=lambda step: (validation[step], -step))
    again = evaluate(model, classification.test, 7, CPU, autocast_for("fp32", CPU))
    assert again.metrics["accuracy"] == pytest.approx(outcome.test_best.metrics["accuracy"])


def test_a_loss_that_explodes_ends_the_run_as_diverged(classification):
    outcome = train(
        model_for(classification), classification, recipe(learning_rate=1e4, clip_norm=None, warmup_steps=0), 0, CPU
    )
    assert outcome.status == "diverged"
    assert "step" in outcome.detail
    assert outcome.test_best is None
    assert outcome.steps < 60


def test_a_loss_that_is_nan_is_named_with_its_step(classification):
    class Poison(Attention):
        calls = 0

        def forward(self, x, context):
            self.calls += 1
            return AttentionOutput(x * (math.nan if self.calls == 7 else 1.0))

    poisoned = Variant(
        "poison", "", "", frozenset(Capability), Options, lambda options, shape: Stack(shape, lambda layer: Poison())
    )
    outcome = train(model_for(classification, variant=poisoned), classification, recipe(), 0, CPU)
    assert outcome.status == "diverged"
    assert outcome.detail == "the loss was nan at step 7"


def test_state_passes_between_segments_and_not_between_passes(stream):
    seen = []

    class Counter(Attention):
        def forward(self, x, context):
            if self.training:
                seen.append((context.state, None if context.resumes is None else bool(context.resumes.all())))
            return AttentionOutput(x, state=(context.state or 0) + 1)

    counter = Variant(
        "counter", "", "", frozenset(Capability), Options, lambda options, shape: Stack(shape, lambda layer: Counter())
    )
    train(model_for(stream, variant=counter), stream, recipe(steps=20, batch_size=25), 0, CPU)
    # 2000 tokens in 25 rows of 8 are 10 segments a pass.
    assert seen[:3] == [(None, None), (1, True), (2, True)]
    assert [state for state, _ in seen[9:12]] == [9, None, 1]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains(classification, precision):
    outcome = train(model_for(classification), classification, recipe(steps=100, precision=precision), 0, CPU)
    assert outcome.status == "done"
    assert outcome.test_best.metrics["accuracy"] > 75


def test_zero_steps_trains_and_scores_nothing(classification):
    outcome = train(model_for(classification), classification, recipe(steps=0), 0, CPU)
    assert (outcome.status, outcome.steps, outcome.test_best) == ("done", 0, None)


def test_cls_pooling_reads_a_token_of_the_models_own(classification):
    outcome = train(model_for(classification, pooling="cls"), classification, recipe(steps=200), 0, CPU)
    assert outcome.test_best.metrics["accuracy"] > 80


@pytest.mark.parametrize("task", ["classification", "stream"])
def test_the_batch_size_of_evaluation_changes_no_score(task, request):
    data = request.getfixturevalue(task)
    model = model_for(data, positions="none")
    one = evaluate(model, data.test, 1, CPU, autocast_for("fp32", CPU))
    many = evaluate(model, data.test, 16, CPU, autocast_for("fp32", CPU))
    count = "count" if task == "classification" else "tokens"
    assert one.sums[count] == many.sums[count] == data.test.n_examples
    if task == "classification":
        assert one.metrics == pytest.approx(many.metrics, rel=1e-5)


def test_an_evaluation_says_which_rows_of_a_stream_continue_each_other(stream):
    found = evaluate(model_for(stream), stream.test, 4, CPU, autocast_for("fp32", CPU))
    # 299 predictions in four rows of 8 tokens at a time: ten batches.
    assert found.examples["chain"].tolist() == [0, 1, 2, 3] * 10
    assert found.examples["tokens"].sum() == 299


def test_independent_examples_are_no_chains(classification):
    found = evaluate(model_for(classification), classification.test, 16, CPU, autocast_for("fp32", CPU))
    assert "chain" not in found.examples
