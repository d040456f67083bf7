"""Functions in fresh processes: what they see, what becomes of them, and that none outlives what started it."""

import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
import torch

from attention_arena.held import held_bytes
from attention_arena.measure import Answer, Subject
from attention_arena.measures.memory.resident import room_for_data
from attention_arena.runs.apart import LIBRARY_BYTES, FreshProcesses
from tests.core.measures.toys import LENGTH, MIB, subject_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")

SEEN: list[int] = []


def where(subject: Subject, plus: int) -> tuple[int, int]:
    return os.getpid(), subject.length + plus


def remember(subject: Subject) -> int:
    SEEN.append(os.getpid())
    return len(SEEN)


def fail(subject: Subject, error: Exception) -> None:
    raise error


def sleep(subject: Subject) -> None:
    time.sleep(60)


def nap(subject: Subject) -> str:
    time.sleep(0.3)
    return "rested"


def allocate(subject: Subject, n_mib: int) -> int:
    return torch.ones(n_mib * MIB, dtype=torch.uint8).numel()


def budgeted(subject: Subject) -> int:
    """Return the bytes that may still be allocated."""
    room = room_for_data()
    assert room is not None
    return room


def share(subject: Subject, n_mib: int) -> None:
    """Hold memory that no limit on data counts."""
    shared = mmap.mmap(-1, n_mib * MIB)
    for start in range(0, len(shared), mmap.PAGESIZE):
        shared[start] = 1
    time.sleep(60)


def end_by(subject: Subject, number: int) -> None:
    os.kill(os.getpid(), number)


def leave(subject: Subject) -> None:
    os._exit(3)


def return_a_lambda(subject: Subject) -> Callable[[], int]:
    return lambda: 1


def processes(subject: Subject) -> None:
    print(os.getppid(), os.getpid(), flush=True)
    time.sleep(60)


@pytest.fixture
def fresh() -> Iterator[FreshProcesses]:
    started = FreshProcesses.start(subject_of, threads=1, memory=None)
    assert started is not None
    with started:
        yield started


class TestAnswers:
    def test_a_function_runs_on_the_subject_in_a_process_of_its_own(self, fresh: FreshProcesses) -> None:
        first, second = (fresh(where, {"plus": 1}) for _ in range(2))
        assert (first.status, first.value[1]) == ("done", LENGTH + 1)
        assert len({os.getpid(), first.value[0], second.value[0]}) == 3

    def test_no_process_sees_what_another_did(self, fresh: FreshProcesses) -> None:
        assert [fresh(remember, {}).value for _ in range(2)] == [1, 1]

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (torch.OutOfMemoryError("no 3 GiB left\non this device"), "oom"),
            (RuntimeError("shapes differ"), "failed"),
            (KeyError("rank"), "failed"),
            (NotImplementedError("no such kernel"), "unsupported"),
        ],
        ids=["oom", "shapes", "key", "kernel"],
    )
    def test_an_exception_is_an_answer(self, fresh: FreshProcesses, error: Exception, status: str) -> None:
        answer = fresh(fail, {"error": error})
        assert answer.status == status
        assert answer.detail is not None
        assert answer.detail.startswith(type(error).__name__)
        assert "\n" not in answer.detail

    @pytest.mark.parametrize(
        ("function", "arguments", "status", "words"),
        [
            (end_by, {"number": signal.SIGKILL}, "oom", "killed by the system"),
            (end_by, {"number": signal.SIGTERM}, "failed", "signal 15"),
            (leave, {}, "failed", "exit status 3"),
            (return_a_lambda, {}, "failed", "no answer"),
        ],
        ids=["killed", "terminated", "left", "unpicklable"],
    )
    def test_a_process_that_leaves_no_answer_says_how_it_ended(
        self, fresh: FreshProcesses, function: Callable[..., Any], arguments: dict[str, Any], status: str, words: str
    ) -> None:
        answer = fresh(function, arguments)
        assert answer.status == status
        assert words in (answer.detail or "")
        assert fresh(where, {"plus": 0}).status == "done"


class TestLimits:
    def test_a_function_that_takes_too_long_is_ended(self, fresh: FreshProcesses) -> None:
        began = time.monotonic()
        answer = fresh(sleep, {}, 0.3)
        assert answer == ("timeout", None, "took more than 0.3 s")
        assert time.monotonic() - began < 30
        assert fresh(where, {"plus": 0}).status == "done"

    @pytest.mark.parametrize("function", [allocate, share], ids=["own", "shared"])
    def test_a_function_that_holds_too_much_is_out_of_memory(
        self, fresh: FreshProcesses, function: Callable[..., Any]
    ) -> None:
        fresh.memory = held_bytes([psutil.Process(pid) for pid in (os.getpid(), fresh.waiting)]) + 400 * MIB
        answer = fresh(function, {"n_mib": 4096}, 50)
        assert answer.status == "oom"
        if function is share:
            assert "together with the run itself, more than" in (answer.detail or "")
        assert fresh(allocate, {"n_mib": 16}).value == 16 * MIB

    def test_a_function_that_ends_as_it_is_to_be_killed_has_its_own_answer(
        self, fresh: FreshProcesses, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def over(child: int, seconds: float | None, spent: float) -> Answer | None:
            psutil.wait_procs([psutil.Process(child)] if psutil.pid_exists(child) else [], timeout=30)
            return Answer("timeout", detail="too late")

        monkeypatch.setattr(fresh, "_over", over)
        assert fresh(nap, {}).value == "rested"

    def test_the_copy_that_waits_takes_little_of_what_a_function_may_hold(self, fresh: FreshProcesses) -> None:
        """It shares its pages, so that its resident set would be counted twice."""
        here, waiting = psutil.Process().memory_info().rss, psutil.Process(fresh.waiting).memory_info().rss
        fresh.memory = here + LIBRARY_BYTES + waiting
        assert fresh(budgeted, {}).value > waiting / 2


class TestLifetimes:
    def test_the_copy_that_waits_is_gone_when_it_is_closed(self) -> None:
        started = FreshProcesses.start(subject_of, threads=1, memory=None)
        assert started is not None
        assert psutil.pid_exists(started.waiting)
        started.close()
        assert not psutil.pid_exists(started.waiting)

    def test_the_processes_die_with_the_one_that_started_them(self) -> None:
        script = (
            "from attention_arena.runs.apart import FreshProcesses\n"
            "from tests.core.measures.toys import subject_of\n"
            "from tests.core.runs.test_apart import processes\n"
            "FreshProcesses.start(subject_of, threads=1, memory=None)(processes, {})\n"
        )
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as starter:
            assert starter.stdout is not None
            started = [psutil.Process(int(pid)) for pid in starter.stdout.readline().split()]
            assert len(started) == 2
            starter.kill()
        gone, alive = psutil.wait_procs(started, timeout=20)
        assert not alive
        assert len(gone) == 2
