"""The loop: steps, validation, the best and the last weights, and divergence as a verdict."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

import torch

from attention_arena.evaluation import Evaluation, evaluate
from attention_arena.model import SequenceModel
from attention_arena.study.schema import TrainingSettings
from attention_arena.task import Batch, Split, TaskData
from attention_arena.training.optimizer import build_optimizer
from attention_arena.training.precision import autocast_for, scaler_for
from attention_arena.training.schedule import learning_rate
from attention_arena.variant import State

CHECK_EVERY = 10
"""Steps between looks at the loss; a look waits for the device, and the time between two looks is a timing sample."""
EXPLOSION = 10.0
"""A mean loss over `CHECK_EVERY` steps above this many times the first loss is divergence."""

OnPoint = Callable[[int, float, str, str, float], None]
"""(step, seconds since training began, split, metric, value)."""
OnStep = Callable[[int], None]


@dataclass
class Outcome:
    """How training went and what the model scored on test."""

    status: Literal["done", "diverged"] = "done"
    detail: str | None = None
    steps: int = 0
    best_step: int | None = None
    best_validation: dict[str, float] = field(default_factory=dict)
    test_best: Evaluation | None = None
    test_last: Evaluation | None = None
    step_seconds: float | None = None
    """Median over blocks of `CHECK_EVERY` steps, the first block left out as warm-up where there are more."""
    seconds: dict[str, float] = field(default_factory=lambda: {"train": 0.0, "evaluate": 0.0, "data": 0.0})
    """Wall time of training steps, of evaluation passes, and of waiting for training batches (part of `train`)."""


class DivergedError(Exception):
    """The loss is not finite, or exploded; the message says what was seen."""


def train(
    model: SequenceModel,
    data: TaskData,
    settings: TrainingSettings,
    seed: int,
    device: torch.device,
    on_point: OnPoint = lambda *_: None,
    on_step: OnStep = lambda _: None,
) -> Outcome:
    """Train `model` in place; return its scores at the best validation and at the last step.

    The model ends with the weights of the best validation score. Depends on its arguments and torch's generators alone.
    """
    return _Training(model, data, settings, seed, device, on_point, on_step).run()


def training_batches(split: Split, batch_size: int, seed: int) -> Iterator[tuple[Batch, bool]]:
    """Yield batches forever, each pass in a new order, with whether the batch begins a pass."""
    epoch = 0
    while True:
        begins = True
        for batch in split.batches(batch_size, order_seed=seed * 1_000_003 + epoch):
            yield batch, begins
            begins = False
        if begins:
            raise ValueError("the training split is empty")
        epoch += 1


class _Training:
    def __init__(
        self,
        model: SequenceModel,
        data: TaskData,
        settings: TrainingSettings,
        seed: int,
        device: torch.device,
        on_point: OnPoint,
        on_step: OnStep,
    ) -> None:
        self.model, self.data, self.settings, self.seed, self.device = model, data, settings, seed, device
        self.on_point, self.on_step = on_point, on_step
        self.run_model: Callable[..., Any] = torch.compile(model) if settings.compile else model
        self.optimizer = build_optimizer(model, settings)
        self.scaler = scaler_for(settings.precision, device)
        self.autocast = autocast_for(settings.precision, device)
        self.metric = data.objective.metrics[0]
        self.outcome = Outcome()
        self.best_weights: dict[str, torch.Tensor] | None = None
        self.first_loss: float | None = None
        self.block_times: list[float] = []
        self.began = time.perf_counter()

    def run(self) -> Outcome:
        try:
            if self.settings.steps:
                self._train()
        except DivergedError as seen:
            self.outcome.status, self.outcome.detail = "diverged", str(seen)
            return self.outcome
        if self.settings.steps:
            self._test()
        return self.outcome

    def _train(self) -> None:
        self.model.train()
        states: list[State | None] = []
        losses: list[torch.Tensor] = []
        block_began = time.perf_counter()
        batches = training_batches(self.data.train, self.settings.batch_size, self.seed)
        for step in range(1, self.settings.steps + 1):
            asked = time.perf_counter()
            batch, begins = next(batches)
            self.outcome.seconds["data"] += time.perf_counter() - asked
            if begins:
                states = []
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.settings, step)
            loss, states = self._step(batch.to(self.device), states)
            losses.append(loss)
            self.on_step(step)
            self.outcome.steps = step
            evaluates = step % self.settings.evaluate_every == 0 or step == self.settings.steps
            if len(losses) == CHECK_EVERY or evaluates:
                self._look(step, losses, block_began)
                losses = []
                if evaluates:
                    self._validate(step)
                block_began = time.perf_counter()

    def _step(self, batch: Batch, states: list[State | None]) -> tuple[torch.Tensor, list[State | None]]:
        """Take one optimiser step over the micro-batches of `batch`; return its mean loss and one state for each."""
        size = self.settings.micro_batch_size or len(batch.tokens)
        starts = range(0, len(batch.tokens), size)
        states = states or [None] * len(starts)
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        weight = self.data.objective.weight(batch)
        after: list[State | None] = []
        for start, state in zip(starts, states, strict=True):
            part = batch.rows(start, start + size)
            share = self.data.objective.weight(part) / weight
            with self.autocast():
                output = self.run_model(part, state)
                loss = self.data.objective.score(self.model.head, output.hidden, part).loss * share
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
            after.append(output.state)
        if self.settings.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return total, after

    def _look(self, step: int, losses: list[torch.Tensor], block_began: float) -> None:
        """Read the losses since the last look, which waits for the device; judge, time and record them."""
        values = torch.stack(losses).tolist()
        elapsed = time.perf_counter() - block_began
        self.outcome.seconds["train"] += elapsed
        self.block_times.append(elapsed / len(values))
        counted = self.block_times[1:] or self.block_times
        self.outcome.step_seconds = median(counted)
        first = step - len(values) + 1
        for offset, value in enumerate(values):
            if not math.isfinite(value):
                raise DivergedError(f"the loss was {value} at step {first + offset}")
        self.first_loss = values[0] if self.first_loss is None else self.first_loss
        mean = sum(values) / len(values)
        self._record(step, "train", "loss", mean)
        self._record(step, "train", "learning_rate", learning_rate(self.settings, step))
        if mean > EXPLOSION * max(self.first_loss, 1e-6):
            raise DivergedError(
                f"the loss exploded: mean {mean:.4g} over steps {first} to {step}, "
                f"more than {EXPLOSION:g} times the first loss ({self.first_loss:.4g})"
            )

    def _validate(self, step: int) -> None:
        evaluation = self._evaluate(self.data.validation, self.settings.validation_examples)
        for name, value in evaluation.metrics.items():
            self._record(step, "validation", name, value)
        value = evaluation.metrics[self.metric.name]
        if not math.isfinite(value):
            raise DivergedError(f"{self.metric.name} on validation was {value} at step {step}")
        best = self.outcome.best_validation.get(self.metric.name)
        if best is None or (value > best if self.metric.higher_is_better else value < best):
            self.outcome.best_validation, self.outcome.best_step = evaluation.metrics, step
            self.best_weights = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}

    def _test(self) -> None:
        self.outcome.test_last = self._evaluate(self.data.test)
        self.outcome.test_best = self.outcome.test_last
        if self.outcome.best_step != self.outcome.steps and self.best_weights is not None:
            self.model.load_state_dict(self.best_weights)
            self.outcome.test_best = self._evaluate(self.data.test)
        for name, value in self.outcome.test_best.metrics.items():
            self._record(self.outcome.best_step or self.outcome.steps, "test", name, value)

    def _evaluate(self, split: Split, at_most: int | None = None) -> Evaluation:
        batch_size = self.settings.evaluate_batch_size or self.settings.batch_size
        evaluation = evaluate(self.model, split, batch_size, self.device, self.autocast, at_most)
        self.outcome.seconds["evaluate"] += evaluation.seconds
        return evaluation

    def _record(self, step: int, split: str, metric: str, value: float) -> None:
        self.on_point(step, time.perf_counter() - self.began, split, metric, value)
