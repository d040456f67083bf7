"""Runs to verdicts: which are missing, who does them, when they are ended."""

from __future__ import annotations

import time
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from attention_arena.runs.executors import Executor, Job, Place
from attention_arena.runs.outcome import OUTCOME_FILE, PROGRESS_FILE
from attention_arena.runs.progress import Progress
from attention_arena.runs.provenance import Provenance
from attention_arena.runs.record import RecordFile, Status
from attention_arena.runs.spec import RunSpec
from attention_arena.runs.store import Store
from attention_arena.runs.verdict import judge, make_record, read_outcome

POLL_SECONDS = 0.1
GIB = 2**30


@dataclass
class Running:
    """A run in progress under this runner."""

    spec: RunSpec
    folder: Path
    job: Job
    attempt: int
    claim: ExitStack
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Wall time so far."""
        return time.monotonic() - self.began

    def over_limit(self) -> tuple[Status, str] | None:
        """Return the verdict on a run that took more than it may, or None."""
        limits = self.spec.limits
        if limits.seconds is not None and self.seconds > limits.seconds:
            return "timeout", f"took more than {limits.seconds:g} s (limits.seconds)"
        if limits.memory_gib is not None:
            limit = int(limits.memory_gib * GIB)
            held = self.job.memory(limit)
            if held > limit:
                return "oom", f"held {held / GIB:.2f} GiB, more than {limits.memory_gib:g} GiB (limits.memory_gib)"
        return None


class Runner:
    """Does the runs of one study that have no record yet, `workers` at a time; `retry` does again what is not done.

    Several runners may work on one study: each run is claimed by one, and a dead runner's claims fall by themselves.
    """

    def __init__(
        self,
        store: Store,
        study: tuple[str, str],
        executor: Executor,
        place: Place,
        workers: int,
        where: Provenance,
        progress: Progress,
        *,
        retry: bool = False,
    ) -> None:
        self.store, self.study, self.executor, self.place = store, study, executor, place
        self.workers, self.where, self.progress = workers, where, progress
        self.retry = retry
        self.running: list[Running] = []

    def run(self, specs: list[RunSpec]) -> dict[str, RecordFile]:
        """Bring every spec to a record and return the records by run.

        On KeyboardInterrupt the children are ended and nothing is recorded of them.
        """
        records = {spec.run: self._kept(spec) for spec in specs}
        waiting = deque(spec for spec in specs if records[spec.run] is None)
        self.progress.begin(len(specs), len(specs) - len(waiting))
        try:
            while waiting or self.running:
                self._fill(waiting, records)
                self._collect(records)
                time.sleep(POLL_SECONDS)
        finally:
            for run in self.running:
                run.job.kill()
                run.claim.close()
            self.progress.end()
        return {run: record for run, record in records.items() if record is not None}

    def _kept(self, spec: RunSpec) -> RecordFile | None:
        """Return the record that makes a run unnecessary, or None."""
        record = self.store.record(spec.run)
        if record is not None and self.retry and record.record.status not in ("done", "unsupported"):
            return None
        return record

    def _fill(self, waiting: deque[RunSpec], records: dict[str, RecordFile | None]) -> None:
        """Start runs while there is room; one that another runner holds goes to the end of the queue."""
        for _ in range(len(waiting)):
            if len(self.running) >= self.workers:
                return
            spec = waiting.popleft()
            claim = ExitStack()
            if not claim.enter_context(self.store.claim(spec.run)):
                claim.close()
                waiting.append(spec)
                continue
            # Another runner may have finished it between our look and our claim.
            done = self._kept(spec)
            if done is not None:
                records[spec.run] = done
                claim.close()
                self.progress.finished(spec.run, done)
            elif spec.unsupported is not None:
                records[spec.run] = self._close(spec, claim, "unsupported", spec.unsupported)
            else:
                self._start(spec, claim)

    def _start(self, spec: RunSpec, claim: ExitStack) -> None:
        folder = self.store.run_folder(spec.run)
        for leftover in (OUTCOME_FILE, PROGRESS_FILE):
            (folder / leftover).unlink(missing_ok=True)
        attempt = self.store.next_attempt(spec.run)
        job = self.executor.submit(folder, self.place)
        self.running.append(Running(spec, folder, job, attempt, claim))
        self.progress.started(spec.run)

    def _collect(self, records: dict[str, RecordFile | None]) -> None:
        """Take the verdict on every child that ended, or that must be ended."""
        for run in list(self.running):
            exit_status = run.job.poll()
            over = run.over_limit() if exit_status is None else None
            if over is not None:
                run.job.kill()
                records[run.spec.run] = self._finish(run, *over, exit_status=None)
            elif exit_status is not None:
                outcome = read_outcome(run.folder)
                records[run.spec.run] = self._finish(
                    run, *judge(exit_status, outcome, run.folder / "log.txt"), exit_status=exit_status
                )
            else:
                self._show(run)

    def _finish(self, run: Running, status: Status, detail: str | None, exit_status: int | None) -> RecordFile:
        outcome = read_outcome(run.folder) if exit_status == 0 else None
        file = make_record(
            run.spec,
            self.study,
            self.where,
            status=status,
            detail=detail,
            outcome=outcome,
            attempt=run.attempt,
            started_at=run.started_at,
            seconds=run.seconds,
        )
        self.running.remove(run)
        self.store.write_record(run.spec.run, file)
        (run.folder / OUTCOME_FILE).unlink(missing_ok=True)
        run.claim.close()
        self.progress.finished(run.spec.run, file)
        return file

    def _close(self, spec: RunSpec, claim: ExitStack, status: Status, detail: str) -> RecordFile:
        """Record a verdict that needs no child."""
        file = make_record(spec, self.study, self.where, status=status, detail=detail)
        self.store.write_record(spec.run, file)
        claim.close()
        self.progress.finished(spec.run, file)
        return file

    def _show(self, run: Running) -> None:
        try:
            step, steps = (run.folder / PROGRESS_FILE).read_text().split()
            self.progress.step(run.spec.run, int(step), int(steps))
        except (FileNotFoundError, ValueError):
            return
