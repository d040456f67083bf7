"""One pass in a process of its own: what it takes at its peak, and whether it can be timed at all.

The processes are forks of an idle server that has imported everything and computed nothing, so each starts from the
same resident set, a few milliseconds after it is asked for.
"""

from __future__ import annotations

import multiprocessing
import resource
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from attention_arena.measures.memory.counting import peak_memory
from bench.cases import Cell, Dtype, Phase
from bench.contract import describe
from bench.registry import find
from bench.work import Work

Status = Literal["done", "failed", "oom", "timeout", "unsupported", "missing", "skipped"]
MIB = 2**20
PATIENCE = 4
"""Wall seconds that a process may take for each CPU second it is allowed, where others compete for the cores."""


class Job(NamedTuple):
    """What to run."""

    implementation: str
    cell: Cell
    dtype: Dtype
    phase: Phase


@dataclass(frozen=True)
class Probe:
    """What came of it."""

    status: Status
    reason: str = ""
    cpu_seconds: float | None = None
    peak_mib: float | None = None
    """Of the resident set, above that of the idle process: layer, input, gradients and all between."""


@dataclass(frozen=True)
class Limits:
    """What a process may take: CPU seconds, and MiB of memory beyond the idle process's."""

    cpu_seconds: float
    memory_mib: float


def probe_all(jobs: Sequence[Job], limits: Limits, n_at_once: int) -> dict[Job, Probe]:
    """Run each job in its own process."""
    with ThreadPoolExecutor(n_at_once) as pool:
        return dict(zip(jobs, pool.map(lambda job: probe(job, limits), jobs), strict=True))


def probe(job: Job, limits: Limits) -> Probe:
    """Run a job in a fresh process and return what it took, or why it did not end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.preloaded"])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(job, limits, sender), daemon=True)
    process.start()
    sender.close()
    try:
        if not receiver.poll(PATIENCE * limits.cpu_seconds + 30):
            return Probe("timeout", f"no answer after {PATIENCE * limits.cpu_seconds + 30:.0f} s")
        answer: Probe = receiver.recv()
        return answer
    except EOFError:
        process.join()
        return _died(process.exitcode or 0, limits)
    finally:
        process.kill()
        process.join()


def _died(code: int, limits: Limits) -> Probe:
    if code == -signal.SIGXCPU:
        return Probe("timeout", f"more than {limits.cpu_seconds:g} CPU seconds")
    if code == -signal.SIGKILL:
        return Probe("oom", "killed, probably for memory")
    return Probe("failed", f"the process ended with code {code}")


def _run(job: Job, limits: Limits, answer: Connection) -> None:
    """Run the job in this process, which ends afterwards, and send what it took."""
    torch.set_num_threads(1)
    before = peak_memory(torch.device("cpu"))
    # PyTorch raises an error where it cannot allocate; a resident set that grows is seen by nobody but the kernel.
    _limit(resource.RLIMIT_AS, _address_space() + int(limits.memory_mib * MIB))
    _limit(resource.RLIMIT_CPU, round(time.process_time() + limits.cpu_seconds) + 1)
    try:
        start = time.process_time()
        Work(find(job.implementation), job.cell, job.dtype).run(job.phase)
        seconds = time.process_time() - start
        peak = (peak_memory(torch.device("cpu")) - before) / MIB
        answer.send(Probe("done", "", seconds, peak))
    # Foreign code, which can fail in any way.
    except BaseException as error:
        answer.send(_judge(error, limits))


def _judge(error: BaseException, limits: Limits) -> Probe:
    reason = describe(error)
    if isinstance(error, ModuleNotFoundError):
        return Probe("missing", reason)
    if isinstance(error, MemoryError) or any(
        word in reason for word in ("bad_alloc", "allocate memory", "memory: you")
    ):
        return Probe("oom", f"more than {limits.memory_mib:,.0f} MiB")
    return Probe("failed", reason)


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()
