"""The task contract over everything registered, and proof that each of its checks can fail."""

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attention_arena.catalogue import load_catalogue
from attention_arena.objectives import Classification, LanguageModeling
from attention_arena.task import Batch, Metric, Score, Source, Split, Task, TaskData, TaskNeeds
from attention_arena.testing import TASK_CHECKS, TaskCase, check_task, task_cases
from attention_arena.variant import Options


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.mark.parametrize("case", task_cases(load_catalogue().tasks.values()))
def test_a_registered_task_keeps_the_contract(case: TaskCase, folder: Path) -> None:
    case(folder)


class Examples(Split):
    """Seven labelled rows of two to five tokens; keeps the contract."""

    n_examples = 7
    content_hash = "ab"

    def batches(self, batch_size: int, order_seed: int | None = None) -> Iterator[Batch]:
        order = list(range(self.n_examples))
        if order_seed is not None:
            random.Random(order_seed).shuffle(order)
            order = order[: self.n_examples - self.n_examples % batch_size]
        for start in range(0, len(order), batch_size):
            yield self.change(self.collate(order[start : start + batch_size]))

    def collate(self, rows: Sequence[int]) -> Batch:
        valid = torch.arange(5) < torch.tensor([2 + row % 4 for row in rows])[:, None]
        tokens = torch.tensor([[1 + (row + t) % 8 for t in range(5)] for row in rows]) * valid
        return Batch(tokens, torch.tensor([row % 3 for row in rows]), valid)

    def change(self, batch: Batch) -> Batch:
        return batch


class Stream(Split):
    """A stream of 25 tokens in rows of 4, batch by batch; keeps the contract."""

    n_examples = 24
    content_hash = "cd"

    def batches(self, batch_size: int, order_seed: int | None = None) -> Iterator[Batch]:
        start = 0 if order_seed is None else order_seed
        stream = torch.tensor([(start + t * t) % 11 for t in range(self.n_examples + 1)])
        n_rows = min(batch_size, 3)
        bounds = [row * self.n_examples // n_rows for row in range(n_rows + 1)]
        for done in range(0, max(stop - at for at, stop in itertools.pairwise(bounds)), 4):
            yield self.change(self.segment(stream, bounds, done), done)

    def segment(self, stream: Tensor, bounds: Sequence[int], done: int) -> Batch:
        places = torch.tensor(bounds[:-1])[:, None] + done + torch.arange(5)
        window = stream[places.clamp(max=self.n_examples)]
        scored = places[:, :-1] < torch.tensor(bounds[1:])[:, None]
        resumes = torch.full((len(window),), done > 0)
        return Batch(window[:, :-1], window[:, 1:], scored=scored, resumes=resumes)

    def change(self, batch: Batch, done: int) -> Batch:
        return batch


class Settings(Options):
    size: int = 5


def load_examples(split: type[Split] = Examples, **changes: Any) -> Callable[[Any, Path], TaskData]:
    def load(options: Any, folder: Path) -> TaskData:
        data = TaskData(9, options.size, Classification(3), split(), split(), split(), Source("generated", "counting"))
        return replace(data, **changes)

    return load


def load_stream(split: type[Split] = Stream) -> Callable[[Any, Path], TaskData]:
    def load(options: Any, folder: Path) -> TaskData:
        return TaskData(11, 4, LanguageModeling(11), split(), split(), split(), Source("generated", "squares"))

    return load


def needs_of(objective: Any, max_length: int) -> Callable[[Any], TaskNeeds]:
    return lambda options: TaskNeeds(objective.requires, max_length, objective.causal)


def needs_of_tokens(options: Any) -> TaskNeeds:
    """Say that tokens are predicted, of a task whose sequences are classified."""
    return TaskNeeds(Classification(3).requires, 5, causal=False, predicts_tokens=True)


COUNTING = Task("counting", 1, "Count.", "none", Settings, needs_of(Classification(3), 5), load_examples())
SQUARES = Task("squares", 1, "Square.", "none", Settings, needs_of(LanguageModeling(11), 4), load_stream())


class IdOutsideTheVocabulary(Examples):
    def change(self, batch: Batch) -> Batch:
        return batch._replace(tokens=batch.tokens + 1)


class FloatMask(Examples):
    def change(self, batch: Batch) -> Batch:
        return batch._replace(valid=batch.valid.float())  # type: ignore[union-attr]


class Int32Targets(Examples):
    def change(self, batch: Batch) -> Batch:
        return batch._replace(targets=batch.targets.int())


class LosesTheLastRow(Examples):
    def batches(self, batch_size: int, order_seed: int | None = None) -> Iterator[Batch]:
        for batch in super().batches(batch_size, order_seed):
            if order_seed is not None or len(batch.tokens) == batch_size:
                yield batch


class RepeatsARow(Examples):
    def collate(self, rows: Sequence[int]) -> Batch:
        return super().collate([0, *rows[1:]])


class IgnoresTheSeed(Examples):
    def batches(self, batch_size: int, order_seed: int | None = None) -> Iterator[Batch]:
        return super().batches(batch_size, None if order_seed is None else 0)


class ShufflesAnew(Examples):
    def batches(self, batch_size: int, order_seed: int | None = None) -> Iterator[Batch]:
        return super().batches(batch_size, None if order_seed is None else random.randrange(10**9))


class YieldsShortBatches(Examples):
    def batches(self, batch_size: int, order_seed: int | None = None) -> Iterator[Batch]:
        yield from super().batches(batch_size, order_seed)
        if order_seed is not None:
            yield self.collate([order_seed % 7])

    n_examples = 14


class ResumesElsewhere(Stream):
    def change(self, batch: Batch, done: int) -> Batch:
        return batch._replace(tokens=batch.tokens.flip(0)) if done else batch


class ResumesAtOnce(Stream):
    def change(self, batch: Batch, done: int) -> Batch:
        return batch._replace(resumes=torch.ones_like(batch.resumes))  # type: ignore[arg-type]


class PredictsTheTokenAfterNext(Stream):
    def change(self, batch: Batch, done: int) -> Batch:
        return batch._replace(targets=batch.targets.roll(-1, 1))


class MeansForSums(Classification):
    def score(self, head: nn.Module, hidden: Tensor, batch: Batch) -> Score:
        score = super().score(head, hidden, batch)
        return score._replace(sums={key: value / len(batch.targets) for key, value in score.sums.items()})


class LossOfAnotherScale(Classification):
    def score(self, head: nn.Module, hidden: Tensor, batch: Batch) -> Score:
        score = super().score(head, hidden, batch)
        return score._replace(loss=score.loss * 2)


class ForgetsAMetric(Classification):
    metrics = (*Classification.metrics, Metric("calibration", "%", False))


class Float32Sums(Classification):
    def score(self, head: nn.Module, hidden: Tensor, batch: Batch) -> Score:
        score = super().score(head, hidden, batch)
        return score._replace(sums={key: value.float() for key, value in score.sums.items()})


def load_anew(options: Any, folder: Path) -> TaskData:
    split = Examples()
    split.content_hash = str(random.random())
    return load_examples(train=split)(options, folder)


BROKEN = [
    ("entry", replace(COUNTING, version=0)),
    ("entry", replace(COUNTING, paper=" ")),
    ("needs", replace(COUNTING, needs=needs_of(Classification(3), 6))),
    ("needs", replace(COUNTING, needs=needs_of(LanguageModeling(3), 5))),
    ("needs", replace(COUNTING, needs=needs_of_tokens)),
    ("needs", replace(COUNTING, load=load_examples(trivial_baselines={"majority class": float("nan")}))),
    ("reproducible", replace(COUNTING, load=load_anew)),
    ("batches", replace(COUNTING, load=load_examples(IdOutsideTheVocabulary))),
    ("batches", replace(COUNTING, load=load_examples(FloatMask))),
    ("batches", replace(COUNTING, load=load_examples(Int32Targets))),
    ("batches", replace(COUNTING, load=load_examples(max_length=4))),
    ("one_pass", replace(COUNTING, load=load_examples(LosesTheLastRow))),
    ("one_pass", replace(COUNTING, load=load_examples(RepeatsARow))),
    ("order", replace(COUNTING, load=load_examples(IgnoresTheSeed))),
    ("order", replace(COUNTING, load=load_examples(ShufflesAnew))),
    ("order", replace(COUNTING, load=load_examples(YieldsShortBatches))),
    ("score", replace(COUNTING, load=load_examples(objective=MeansForSums(3)))),
    ("score", replace(COUNTING, load=load_examples(objective=LossOfAnotherScale(3)))),
    ("score", replace(COUNTING, load=load_examples(objective=ForgetsAMetric(3)))),
    ("score", replace(COUNTING, load=load_examples(objective=Float32Sums(3)))),
    ("stream", replace(SQUARES, load=load_stream(ResumesElsewhere))),
    ("stream", replace(SQUARES, load=load_stream(ResumesAtOnce))),
    ("stream", replace(SQUARES, load=load_stream(PredictsTheTokenAfterNext))),
]


@pytest.mark.parametrize("task", [COUNTING, SQUARES])
def test_a_sound_task_passes_every_check(task: Task, tmp_path: Path) -> None:
    assert [finding for finding in check_task(task, tmp_path) if finding.verdict == "failed"] == []


@pytest.mark.parametrize(("check", "task"), BROKEN)
def test_a_broken_task_is_caught(check: str, task: Task, tmp_path: Path) -> None:
    (finding,) = check_task(task, tmp_path, [check])
    assert finding.verdict == "failed"
    assert finding.detail


def test_every_check_is_shown_to_fail() -> None:
    assert {check for check, _ in BROKEN} == set(TASK_CHECKS)


def test_a_task_without_streams_has_nothing_to_resume(tmp_path: Path) -> None:
    (finding,) = check_task(COUNTING, tmp_path, ["stream"])
    assert finding.verdict == "not applicable"


def test_a_task_that_cannot_load_fails_with_its_reason(tmp_path: Path) -> None:
    def load(options: Any, folder: Path) -> TaskData:
        raise OSError("the disk is full")

    (finding,) = check_task(replace(COUNTING, load=load), tmp_path, ["batches"])
    assert (finding.verdict, finding.detail) == ("failed", "OSError: the disk is full")
