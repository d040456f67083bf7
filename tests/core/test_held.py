"""Pages that a process and its copy share count once, where the system says what is shared."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from attention_arena import held
from attention_arena.held import held_bytes, private_bytes
from attention_arena.runs.executors.local import LocalJob
from tests.core.measures.toys import MIB

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="the system knows no proportional sets"
)
SHARED = 128 * MIB
SCRIPT = f"""
import os, time
block = b"x" * {SHARED}
copy = os.fork()
if copy:
    print(copy, flush=True)
time.sleep(100)
"""


@pytest.fixture
def job() -> Iterator[tuple[LocalJob, list[psutil.Process]]]:
    """A job of two processes that share 128 MiB, and the two."""
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, start_new_session=True) as started:
        assert started.stdout is not None
        copy = int(started.stdout.readline())
        job = LocalJob(started)
        yield job, [psutil.Process(started.pid), psutil.Process(copy)]
        job.kill()


Job = tuple[LocalJob, list[psutil.Process]]


def test_what_two_processes_share_counts_once(job: Job) -> None:
    _, processes = job
    assert sum(each.memory_info().rss for each in processes) > 2 * SHARED
    assert SHARED < held_bytes(processes) < 1.5 * SHARED
    assert 0.4 * SHARED < held_bytes(processes[:1]) < 0.9 * SHARED


def test_what_is_shared_is_private_to_neither(job: Job) -> None:
    _, processes = job
    assert all(0 < private_bytes(each) < 0.5 * SHARED for each in processes)


def test_a_job_holds_what_its_processes_hold_together(job: Job) -> None:
    started, processes = job
    assert started.memory() == pytest.approx(held_bytes(processes), rel=0.05)


def test_a_sum_that_is_low_enough_anyway_is_of_resident_sets(job: Job) -> None:
    started, processes = job
    resident = sum(each.memory_info().rss for each in processes)
    assert started.memory(enough=2 * resident) == pytest.approx(resident, rel=0.05)
    assert started.memory(enough=SHARED) < 1.5 * SHARED


@pytest.mark.parametrize(
    "failure", [FileNotFoundError, PermissionError, None], ids=["absent", "refused", "other words"]
)
def test_where_there_is_no_proportional_set_the_resident_one_stands_for_it(
    job: Job, monkeypatch: pytest.MonkeyPatch, failure: type[OSError] | None
) -> None:
    class NoRollup:
        def __init__(self, path: str) -> None:
            assert path.endswith("/smaps_rollup")

        def read_text(self) -> str:
            if failure is not None:
                raise failure
            return "Rss: 3 kB\n"

    monkeypatch.setattr(held, "Path", NoRollup)
    _, processes = job
    assert held_bytes(processes) == pytest.approx(sum(each.memory_info().rss for each in processes), rel=0.05)
    assert private_bytes(processes[0]) == pytest.approx(processes[0].memory_info().rss, rel=0.05)


def test_a_process_that_has_ended_holds_nothing(job: Job) -> None:
    started, processes = job
    os.kill(processes[1].pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while held_bytes(processes[1:]) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert held_bytes(processes[1:]) == 0
    started.kill()
    assert (held_bytes(processes), started.memory()) == (0, 0)
