"""Functions that run one by one in fresh processes, so that what they hold, break or waste is theirs alone.

A fresh interpreter would take seconds to import PyTorch and to load the data again. So a run forks off a copy of itself
while it has done nothing but that, and the copy forks once more for each function. It must happen before the first
thread pool starts and before a GPU is used: neither survives a fork.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

import psutil

from attention_arena.held import held_bytes, private_bytes
from attention_arena.measure import Answer, Subject
from attention_arena.runs.cells import Job, answer_of, serve
from attention_arena.runs.lifetime import end_with

POLL_SECONDS = 0.02
LIBRARY_BYTES = 128 * 2**20
"""Left free for code that a new process loads as it goes, and for pages that it shares until it writes to them; no
limit on its data bounds either."""
GIB = 2**30


class FreshProcesses:
    """Runs functions on a subject, each in a process of its own; it is a `measure.Apart`.

    The processes end with this one. `memory` is how many bytes this process and those of its making may hold together;
    what they share counts once, as it does for the runner.
    """

    def __init__(self, jobs: Connection, waiting: int, memory: int | None) -> None:
        self.jobs, self.waiting, self.memory = jobs, waiting, memory

    @classmethod
    def start(cls, subject: Callable[[], Subject], threads: int, memory: int | None) -> FreshProcesses | None:
        """Fork the copy that waits for jobs, or return None where forking is not safe (any system but Linux).

        `subject` is called in each fresh process, and `threads` are what PyTorch may use there.
        """
        if sys.platform != "linux":
            return None
        ours, theirs = multiprocessing.Pipe()
        here = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        waiting = os.fork()
        if waiting == 0:
            end_with(here)
            ours.close()
            serve(theirs, subject, threads)
        theirs.close()
        return cls(ours, waiting, memory)

    def __enter__(self) -> FreshProcesses:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the waiting copy, and with it what it started; returns when it is gone."""
        # Not by closing the pipe alone: whatever else was forked from this process holds its end too.
        os.kill(self.waiting, signal.SIGKILL)
        os.waitpid(self.waiting, 0)
        self.jobs.close()

    def __call__(
        self, function: Callable[..., Any], arguments: Mapping[str, Any], seconds: float | None = None
    ) -> Answer:
        """Return what became of `function(subject, **arguments)`; raises nothing that the function raises."""
        allowance = self._allowance()
        self.jobs.send_bytes(pickle.dumps(Job(function, dict(arguments), allowance)))
        child: int = self.jobs.recv()
        over = self._watch(child, seconds)
        answer = answer_of(*self.jobs.recv())
        return over or answer

    def _allowance(self) -> int | None:
        """Return what a new process may take beside what it starts with and code; None where nothing limits it."""
        if self.memory is None:
            return None
        held = psutil.Process().memory_info().rss + private_bytes(psutil.Process(self.waiting))
        return self.memory - held - LIBRARY_BYTES

    def _watch(self, child: int, seconds: float | None) -> Answer | None:
        """Wait for the child to end; kill it where it exceeds a limit, and return which.

        One that has ended by itself meanwhile is not over any: its own answer comes.
        """
        began = time.monotonic()
        while not self.jobs.poll(POLL_SECONDS):
            over = self._over(child, seconds, time.monotonic() - began)
            if over is not None:
                try:
                    os.kill(child, signal.SIGKILL)
                except ProcessLookupError:
                    return None
                return over
        return None

    def _over(self, child: int, seconds: float | None, spent: float) -> Answer | None:
        if seconds is not None and spent > seconds:
            return Answer("timeout", detail=f"took more than {seconds:g} s")
        if self.memory is None:
            return None
        try:
            family = [psutil.Process(pid) for pid in (os.getpid(), self.waiting, child)]
        except psutil.Error:
            return None
        held = held_bytes(family, enough=self.memory)
        if held <= self.memory:
            return None
        limit = f"{self.memory / GIB:g} GiB (limits.memory_gib)"
        return Answer("oom", detail=f"held {held / GIB:.2f} GiB together with the run itself, more than {limit}")
