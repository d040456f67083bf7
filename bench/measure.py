"""The measurement of one cell: probes, then samples in turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from bench.cases import PHASES, Cell, Dtype, Implementation, Phase
from bench.contract import describe
from bench.probe import Job, Limits, Probe, probe_all
from bench.rows import Row, best_peer, divide, relate
from bench.timing import Call, Effort, Samples, cpu_clock, take_turns, threads, wall_clock
from bench.work import Work


@dataclass(frozen=True)
class Plan:
    """How to measure."""

    effort: Effort
    limits: Limits
    wall_threads: int = 2
    wall_samples: int = 2
    wall_lengths: tuple[int, ...] = (4096,)
    cores: int = 2
    slow_peer: float | None = 3.0
    """A peer this many times slower than the best of its idea is not followed beyond `slow_above` tokens."""
    slow_above: int = 4096

    @property
    def wall_effort(self) -> Effort:
        """How often to sample wall time."""
        return Effort(self.wall_samples, self.wall_samples, budget=0.0, long_call=self.effort.long_call)


class Entry(NamedTuple):
    """Who takes part in a cell."""

    implementation: Implementation
    dtype: Dtype


@dataclass
class History:
    """What shorter sequences told about longer ones."""

    plan: Plan
    hopeless: dict[tuple[str, str, str, Dtype], str] = field(default_factory=dict)

    def reason(self, entry: Entry, cell: Cell) -> str | None:
        """Return why an entry need not be tried in a cell, or None."""
        return self.hopeless.get(_history_key(entry.implementation.name, cell, entry.dtype))

    def learn(self, cell: Cell, rows: Sequence[Row]) -> None:
        """Take note of a cell's training rows; cells must come in order of length."""
        for row in rows:
            reason = self._judge(row, rows)
            if reason:
                self.hopeless.setdefault(_history_key(row.implementation, cell, row.dtype), reason)

    def _judge(self, row: Row, rows: Sequence[Row]) -> str | None:
        if row.status in ("oom", "timeout"):
            return f"{row.status} at {row.length} tokens already ({row.reason})"
        if row.ours or self.plan.slow_peer is None or row.length < self.plan.slow_above:
            return None
        best = best_peer(rows, row.idea)
        if best is None:
            return None
        slower = divide(row.cpu_seconds, best.cpu_seconds)
        if slower is None or slower <= self.plan.slow_peer:
            return None
        return f"{slower:.1f} times as slow as {best.implementation} at {row.length} tokens already"


def _history_key(name: str, cell: Cell, dtype: Dtype) -> tuple[str, str, str, Dtype]:
    return name, cell.setting.name, cell.direction, dtype


def measure(cell: Cell, entries: Sequence[Entry], plan: Plan, history: History) -> Iterator[list[Row]]:
    """Yield the rows of a cell, phase by phase: training first, whose probe says who can be timed."""
    probes = _probe(cell, entries, plan, history)
    ready = [entry for entry in entries if any(probes[entry, phase].status == "done" for phase in PHASES)]
    works = {entry: Work(entry.implementation, cell, entry.dtype) for entry in ready}
    for phase in PHASES:
        calls: dict[str, Call] = {
            _name(entry): partial(work.run, phase)
            for entry, work in works.items()
            if probes[entry, phase].status == "done"
        }
        cpu = _sample(calls, plan.effort, cpu_clock, 1)
        timed_on_wall = plan.wall_samples and cell.length in plan.wall_lengths and phase == "training"
        wall = _sample(calls, plan.wall_effort, wall_clock, plan.wall_threads) if timed_on_wall else {}
        rows: list[Row] = []
        for dtype in dict.fromkeys(entry.dtype for entry in entries):
            rows += relate(
                [
                    _row(cell, entry, phase, probes[entry, phase], probes[entry, "training"], cpu, wall)
                    for entry in entries
                    if entry.dtype == dtype
                ]
            )
        if phase == "training":
            history.learn(cell, rows)
        yield rows


def _probe(cell: Cell, entries: Sequence[Entry], plan: Plan, history: History) -> dict[tuple[Entry, Phase], Probe]:
    """Return a probe of each entry and phase; inference is probed only where training does not fit."""
    found: dict[tuple[Entry, Phase], Probe] = {}
    waiting: list[Entry] = []
    for entry in entries:
        reason = history.reason(entry, cell)
        if reason is None:
            waiting.append(entry)
        else:
            found.update({(entry, phase): Probe("skipped", reason) for phase in PHASES})
    for phase in PHASES:
        jobs = {entry: Job(entry.implementation.name, cell, entry.dtype, phase) for entry in waiting}
        answers = probe_all(list(jobs.values()), plan.limits, plan.cores)
        for entry, job in jobs.items():
            found[entry, phase] = answers[job]
        waiting = [entry for entry in waiting if answers[jobs[entry]].status in ("oom", "timeout")]
    for entry in entries:
        # What trains also infers, and what is broken is broken in both.
        found.setdefault((entry, "inference"), found[entry, "training"])
    return found


def _sample(calls: dict[str, Call], effort: Effort, clock: Callable[[], float], n_threads: int) -> dict[str, Samples]:
    with threads(n_threads):
        return take_turns(calls, effort, clock)


def _row(
    cell: Cell,
    entry: Entry,
    phase: Phase,
    probe: Probe,
    training: Probe,
    cpu: dict[str, Samples],
    wall: dict[str, Samples],
) -> Row:
    implementation, dtype = entry
    samples = cpu.get(_name(entry), Samples())
    status, reason = probe.status, probe.reason
    if samples.error is not None:
        status, reason = "failed", describe(samples.error)
    return Row(
        setting=cell.setting.name,
        direction=cell.direction,
        length=cell.length,
        phase=phase,
        dtype=dtype,
        idea=implementation.idea.name,
        implementation=implementation.name,
        ours=implementation.is_ours,
        counts=implementation.counts,
        status=status,
        reason=reason,
        cpu_seconds=samples.lowest,
        samples=len(samples.seconds),
        peak_mib=training.peak_mib,
        wall_seconds=wall.get(_name(entry), Samples()).lowest,
    )


def _name(entry: Entry) -> str:
    return f"{entry.implementation.name} ({entry.dtype})"
