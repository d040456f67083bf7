"""The far side of `runs.apart`: a process that waits for jobs and forks one process for each of them."""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch

from attention_arena.measure import Answer, Subject
from attention_arena.measures.apart import attempt
from attention_arena.measures.budget import held_here, memory_budget
from attention_arena.runs.lifetime import end_with


class Job(NamedTuple):
    """A function of a module, its arguments besides the subject, and the bytes that its process may take for it."""

    function: Callable[..., Any]
    arguments: Mapping[str, Any]
    memory: int | None


def serve(jobs: Connection, subject: Callable[[], Subject], threads: int) -> NoReturn:
    """Answer jobs until the other end of `jobs` is closed, then end this process.

    A job comes in as the bytes of a pickled `Job`. Two messages go out for it: the process that does it, by its id, and
    when that is over, the bytes of its pickled `Answer` (none if it did not get so far) with its wait status.
    """
    while True:
        try:
            job = jobs.recv_bytes()
        except EOFError:
            os._exit(0)
        reading, writing = os.pipe()
        here = os.getpid()
        child = os.fork()
        if child == 0:
            _do(job, writing, subject, threads, here)
        os.close(writing)
        jobs.send(child)
        with os.fdopen(reading, "rb") as pipe:
            answer = pipe.read()
        _, status = os.waitpid(child, 0)
        jobs.send((answer, status))


def _do(job: bytes, writing: int, subject: Callable[[], Subject], threads: int, parent: int) -> NoReturn:
    """Do a job, write its answer and end; what its parent has registered to do at exit is not ours to do."""
    status = 1
    try:
        end_with(parent)
        _be_killed_first()
        torch.set_num_threads(threads)
        answer = attempt(lambda: _run(pickle.loads(job), subject()))
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(answer, pipe)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _run(job: Job, subject: Subject) -> Any:
    # After the subject is made: a GPU in use has reserved address space that no budget must count.
    with memory_budget(None if job.memory is None else held_here() + job.memory):
        return job.function(subject, **job.arguments)


def _be_killed_first() -> None:
    """Ask the system, should its memory run out, to end this process before any other."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def answer_of(written: bytes, status: int) -> Answer:
    """Return a process's answer; where it left none, its wait status says why."""
    if written and status == 0:
        answer: Answer = pickle.loads(written)
        return answer
    exit_code = os.waitstatus_to_exitcode(status)
    if exit_code == -9:
        return Answer("oom", detail="killed by the system (signal 9), which most often means that memory ran out")
    ended = f"signal {-exit_code}" if exit_code < 0 else f"exit status {exit_code}"
    return Answer("failed", detail=f"the process ended with {ended} and no answer; the run's log may say why")
