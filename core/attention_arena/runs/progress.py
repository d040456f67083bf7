"""What a person sees while a study runs: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Never, Protocol

from tqdm import tqdm

from attention_arena.runs.record import RecordFile


class Progress(Protocol):
    """What the runner reports to."""

    def begin(self, total: int, kept: int) -> None:
        """`total` runs are planned, `kept` of them have their record already."""

    def started(self, run: str) -> None:
        """A run has begun."""

    def step(self, run: str, step: int, steps: int) -> None:
        """A run has come so far."""

    def finished(self, run: str, file: RecordFile) -> None:
        """A run has its verdict."""

    def say(self, text: str) -> None:
        """Anything else worth a line."""

    def end(self) -> None:
        """Nothing more will come."""


def describe(file: RecordFile) -> str:
    """Return a run's verdict in a line."""
    record = file.record
    named = f"{record.run} ({record.label})" if record.label != record.variant else record.run
    words = f"{named}  {record.status}"
    if record.seconds is not None:
        words += f"  {record.seconds:.1f} s"
    if record.value is not None:
        words += f"  {record.metric} {record.value:.4g} {record.unit}"
    if record.detail:
        words += f"  ({record.detail.splitlines()[0][:160]})"
    return words


class Lines:
    """A line for each run that begins or ends."""

    def __init__(self, write: Callable[[str], None] | None = None) -> None:
        self.write = write or (lambda text: sys.stderr.write(text + "\n"))
        self.total = self.done = 0

    def begin(self, total: int, kept: int) -> None:
        """Say how much there is to do."""
        self.total, self.done = total, kept
        if kept:
            self.write(f"{kept} of {total} runs are done already")

    def started(self, run: str) -> None:
        """Say which run begins."""
        self.write(f"      {run}  started")

    def step(self, run: str, step: int, steps: int) -> None:
        """Steps are too many for lines."""

    def finished(self, run: str, file: RecordFile) -> None:
        """Say the verdict."""
        self.done += 1
        self.write(f"[{self.done}/{self.total}] {describe(file)}")

    def say(self, text: str) -> None:
        """Write a line."""
        self.write(text)

    def end(self) -> None:
        """Nothing to close."""


class Bars:
    """A bar for the study and one for each run in progress."""

    def __init__(self) -> None:
        self.bars: dict[str, tqdm[Never]] = {}

    def begin(self, total: int, kept: int) -> None:
        """Open the study's bar."""
        self.runs = tqdm(total=total, initial=kept, unit="run", desc="study", position=0, dynamic_ncols=True)

    def started(self, run: str) -> None:
        """Open the run's bar."""
        position = min(set(range(1, len(self.bars) + 2)) - {abs(bar.pos) for bar in self.bars.values()})
        self.bars[run] = tqdm(unit="step", desc=run, position=position, leave=False, dynamic_ncols=True)

    def step(self, run: str, step: int, steps: int) -> None:
        """Move the run's bar."""
        bar = self.bars[run]
        bar.total = steps
        bar.update(step - bar.n)

    def finished(self, run: str, file: RecordFile) -> None:
        """Close the run's bar, say the verdict, move the study's."""
        if run in self.bars:
            self.bars.pop(run).close()
        tqdm.write(describe(file), file=sys.stderr)
        self.runs.update()

    def say(self, text: str) -> None:
        """Write a line above the bars."""
        tqdm.write(text, file=sys.stderr)

    def end(self) -> None:
        """Close all bars."""
        for bar in self.bars.values():
            bar.close()
        self.runs.close()


def progress_for(stream: object = None) -> Progress:
    """Return bars where the error stream is a terminal, lines elsewhere."""
    return Bars() if sys.stderr.isatty() else Lines()
