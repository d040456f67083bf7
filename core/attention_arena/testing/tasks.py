"""The task checks by name, and their run over a task."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from attention_arena.task import Task, TaskData
from attention_arena.testing.batches import (
    check_batches,
    check_one_pass,
    check_order,
    check_score,
    check_stream,
)
from attention_arena.testing.verdict import ContractError, Finding, NotApplicable, require
from attention_arena.variant import Options

if TYPE_CHECKING:
    from _pytest.mark.structures import ParameterSet

TaskCheck = Callable[[Task, Path], None]


def check_entry(task: Task, folder: Path) -> None:
    """The entry has a name, a version from 1 up, a summary and a paper, and its options survive JSON."""
    require(
        isinstance(task.version, int) and task.version >= 1, f"{task.name}: version {task.version!r}, expected >= 1"
    )
    for name in ("name", "summary", "paper"):
        require(bool(getattr(task, name).strip()), f"{task.name!r}: {name} is empty")
    options = _small(task)
    again = task.options.model_validate_json(options.model_dump_json())
    require(again == options, f"{task.name}: options {options} come back from JSON as {again}")


def check_needs(task: Task, folder: Path) -> None:
    """What the task says that it needs, before any data exists, agrees with its data."""
    options = _small(task)
    needs, data = task.needs(options), task.load(options, folder)
    tokens = next(iter(data.train.batches(1))).tokens
    pairs = {
        "max_length": (needs.max_length, data.max_length),
        "causal": (needs.causal, data.objective.causal),
        "pools": (needs.pools, data.objective.pools),
        "capabilities": (needs.capabilities, data.objective.requires),
        "n_sequences": (needs.n_sequences, tokens.shape[1] if tokens.dim() == 3 else 1),
    }
    for name, (said, is_so) in pairs.items():
        require(said == is_so, f"{task.name}: needs say {name} = {said}, the data have {is_so}")
    names = [metric.name for metric in data.objective.metrics]
    require(len(names) == len(set(names)) > 0, f"{task.name}: metrics are {names}, expected one or more distinct names")
    for name, value in data.trivial_baselines.items():
        require(value == value, f"{task.name}: trivial baseline {name} is NaN")


def check_reproducible(task: Task, folder: Path) -> None:
    """Two empty folders and the cache of one of them all give the same data."""
    options = _small(task)
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        made = _fingerprint(task.load(options, Path(first)))
        cached = _fingerprint(task.load(options, Path(first)))
        made_again = _fingerprint(task.load(options, Path(second)))
    require(made == cached, f"{task.name}: prepared data {made}, read back {cached}")
    require(made == made_again, f"{task.name}: prepared data {made}, prepared again {made_again}")


def _fingerprint(data: TaskData) -> tuple[str, int, int, tuple[int, ...]]:
    counts = tuple(split.n_examples for split in (data.train, data.validation, data.test))
    return data.data_hash, data.vocab_size, data.max_length, counts


def _small(task: Task) -> Options:
    return task.options(**task.small_options)


def _on_data(check: Callable[[TaskData, str], None]) -> TaskCheck:
    """Return a task check from a check of loaded data and the task's name."""

    def run(task: Task, folder: Path) -> None:
        check(task.load(_small(task), folder), task.name)

    run.__doc__ = check.__doc__
    return run


TASK_CHECKS: Mapping[str, TaskCheck] = {
    "entry": check_entry,
    "needs": check_needs,
    "reproducible": check_reproducible,
    "batches": _on_data(check_batches),
    "one_pass": _on_data(check_one_pass),
    "order": _on_data(check_order),
    "score": _on_data(check_score),
    "stream": _on_data(check_stream),
}
"""Name -> (task, data folder) -> None, under the task's `small_options`. Raises as a variant check does."""


def check_task(task: Task, folder: Path, checks: Iterable[str] | None = None) -> list[Finding]:
    """Run the checks (all, or those named) over a task; its data are prepared under `folder`."""
    return [_run(task, folder, check) for check in (TASK_CHECKS if checks is None else checks)]


def _run(task: Task, folder: Path, check: str) -> Finding:
    options = task.small_options
    try:
        TASK_CHECKS[check](task, folder)
    except NotApplicable as reason:
        return Finding(check, options, "not applicable", str(reason))
    except Exception as error:
        detail = str(error) if isinstance(error, ContractError) else f"{type(error).__name__}: {error}"
        return Finding(check, options, "failed", detail)
    return Finding(check, options, "passed", None)


@dataclass(frozen=True)
class TaskCase:
    """One contract check of one task; calling it with a data folder runs it."""

    task: Task
    check: str

    def __call__(self, folder: Path) -> None:
        """Raise what the check raises; where it does not apply, skip the test."""
        try:
            TASK_CHECKS[self.check](self.task, folder)
        except NotApplicable as reason:
            import pytest

            pytest.skip(str(reason))


def task_cases(tasks: Iterable[Task]) -> list[ParameterSet]:
    """Return pytest parameters: every check of every task; one folder may serve them all."""
    import pytest

    return [pytest.param(TaskCase(task, check), id=f"{task.name}-{check}") for task in tasks for check in TASK_CHECKS]
