"""Where runs are executed; found through the same hook as a third party's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from attention_arena.hooks import hookimpl


class Job(Protocol):
    """A run that is being executed."""

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal, or None while it runs."""

    def memory(self, enough: int = 0) -> int:
        """Return the bytes of memory that it holds now, 0 where that cannot be known.

        A figure up to `enough` may be too high, never too low, where the true one takes longer to know.
        """

    def kill(self) -> None:
        """End it and everything it started; returns when it is gone."""


class Place(NamedTuple):
    """Where a run is to be executed: `cpu`, `cuda` or `cuda:N`, and how many threads it may use."""

    device: str
    threads: int


class Executor(NamedTuple):
    """A catalogue entry."""

    name: str
    summary: str
    submit: Callable[[Path, Place], Job]
    """(run folder, place) -> the job; executes `python -m attention_arena.runs.worker` there, log to `log.txt`."""


@hookimpl
def register_executors() -> Sequence[Executor]:
    """Register the executors that come with core."""
    from attention_arena.runs.executors.local import LOCAL

    return [LOCAL]
