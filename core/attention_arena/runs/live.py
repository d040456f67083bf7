"""A page that is rewritten while a study runs: what the runner reports to, in front of the usual progress."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from attention_arena.runs.progress import Progress
from attention_arena.runs.record import RecordFile

EVERY = 30.0
"""Seconds between two pages at least."""
INTERRUPTED = (130, -2)
"""Exit statuses of a writer that Ctrl-C has reached too; there is nothing wrong with its page."""
PATIENCE = 120.0
"""Seconds that the last page may still take when the runs are done."""


def report_apart(folder: Path) -> subprocess.Popen[bytes]:
    """Start writing the report of a study's folder in a process of its own, which gives way to all others.

    The runner goes on watching its runs meanwhile, and a plugin's figure that fails, or never ends, is not its concern.
    """
    child = subprocess.Popen(
        [sys.executable, "-m", "attention_arena", "report", str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, child.pid, 19)
    return child


class LivePage:
    """Passes on what happens to `inner`, and starts `write` when a run has begun or ended, one at a time."""

    def __init__(
        self,
        inner: Progress,
        write: Callable[[], subprocess.Popen[bytes]],
        every: float = EVERY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.inner, self.write, self.every, self.clock = inner, write, every, clock
        self.due = False
        self.began = -every
        self.child: subprocess.Popen[bytes] | None = None
        self.told = False

    def begin(self, total: int, kept: int) -> None:
        """Write the first page, on which all is pending."""
        self.inner.begin(total, kept)
        self._changed()

    def started(self, run: str) -> None:
        """Have the page show it."""
        self.inner.started(run)
        self._changed()

    def step(self, run: str, step: int, steps: int) -> None:
        """See whether a page that was too early is due now."""
        self.inner.step(run, step, steps)
        self._write_if_due()

    def finished(self, run: str, file: RecordFile) -> None:
        """Have the page show it."""
        self.inner.finished(run, file)
        self._changed()

    def say(self, text: str) -> None:
        """Pass it on."""
        self.inner.say(text)

    def end(self) -> None:
        """Wait for a page that is being written, so that it cannot replace a later one."""
        if self.child is not None:
            try:
                self.child.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
            self._look()
        self.inner.end()

    def _changed(self) -> None:
        self.due = True
        self._write_if_due()

    def _write_if_due(self) -> None:
        self._look()
        if not self.due or self.child is not None or self.clock() - self.began < self.every:
            return
        self.due, self.began = False, self.clock()
        try:
            self.child = self.write()
        except OSError as error:
            self._complain(str(error))

    def _look(self) -> None:
        """Take leave of a writer that has ended."""
        status = None if self.child is None else self.child.poll()
        if status is not None:
            self.child = None
            if status not in (0, *INTERRUPTED):
                self._complain(f"it ended with exit status {status}; `arena report` shows why")

    def _complain(self, why: str) -> None:
        """Say once that the page could not be written; the study goes on."""
        if not self.told:
            self.told = True
            self.inner.say(f"the page could not be written: {why}")
