"""Child processes of the runner, on this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from attention_arena.allocator import ENVIRONMENT
from attention_arena.held import held_bytes
from attention_arena.runs.executors import Executor, Place


class LocalJob:
    """A child process in a session of its own, so that Ctrl-C reaches the runner first."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal, or None while it runs."""
        return self.process.poll()

    def memory(self, enough: int = 0) -> int:
        """Return the memory of the child and its descendants, what they share counted once; see `held_bytes`."""
        try:
            child = psutil.Process(self.process.pid)
            family = [child, *child.children(recursive=True)]
        except psutil.Error:
            return 0
        return held_bytes(family, enough)

    def kill(self) -> None:
        """Kill the child's whole process group and wait for the child."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def submit(folder: Path, place: Place) -> LocalJob:
    """Start the worker on a run's folder."""
    command = [sys.executable, "-m", "attention_arena.runs.worker", str(folder.resolve())]
    command += ["--device", place.device, "--threads", str(place.threads), "--parent", str(os.getpid())]
    # Threads that wait must sleep: spinning ones make a run on a busy machine many times slower.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **ENVIRONMENT, **os.environ, "PYTHONUNBUFFERED": "1"}
    environment["OMP_NUM_THREADS"] = str(place.threads)
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    return LocalJob(process)


LOCAL = Executor("local", "child processes on this machine", submit)
