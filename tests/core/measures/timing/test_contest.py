"""A contest compares two pieces of work of known durations, on a clock that only they move."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch

from attention_arena.measure import Measurement
from attention_arena.measures.passes import DoesNotFitError, Reason
from attention_arena.measures.timing.contest import Contest, Effort, Side, settle
from attention_arena.measures.timing.reach import Reach
from attention_arena.measures.timing.readings import own_reading, ratio_reading

ROW = Measurement("step_time", "training", None, "ms", 512, 2, higher_is_better=False, samples=0)


@dataclass
class Machine:
    """A clock that work moves; it slows all work while `slowness` says so, a value for each visit."""

    now: float = 0.0
    slowness: list[float] = field(default_factory=lambda: [1.0])
    built: list[str] = field(default_factory=list)

    def prepare(self, name: str, seconds: float) -> Callable[[], Callable[[], None]]:
        def build() -> Callable[[], None]:
            self.built.append(name)
            n = self.built.count(name) - 1
            return lambda: self.pass_time(seconds * self.slowness[n % len(self.slowness)])

        return build

    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    def stopwatch(self, call: Callable[[], object], n_calls: int) -> float:
        began = self.now
        for _ in range(n_calls):
            call()
        return self.now - began

    def contest(
        self,
        own: Callable[[], Callable[[], object]],
        baseline: Callable[[], Callable[[], object]] | None,
        **effort: float,
    ) -> Contest:
        known = Effort(**{"visits": 6, "min_seconds": 0.0, "max_seconds": 60.0, "tolerance": 0.03} | effort)  # type: ignore[arg-type]
        sides = [None if each is None else Side(512, each, Reach(60.0)) for each in (own, baseline)]
        assert sides[0] is not None
        return Contest(sides[0], sides[1], self.stopwatch, known, None)


def raising(error: Exception) -> Callable[[], Callable[[], object]]:
    def prepare() -> Callable[[], object]:
        raise error

    return prepare


def settled(contest: Contest) -> tuple[Measurement, Measurement | None]:
    settle([contest])
    time = own_reading(ROW, contest, lambda seconds: 1e3 * seconds)
    return time, None if contest.baseline is None else ratio_reading(ROW, contest, "softmax")


class TestSamples:
    def test_the_time_is_that_of_a_call_and_the_ratio_that_over_the_baseline(self) -> None:
        machine = Machine()
        time, ratio = settled(machine.contest(machine.prepare("own", 0.3), machine.prepare("baseline", 0.2)))
        assert ratio is not None
        assert (time.value, time.low, time.high, time.samples) == pytest.approx((300, 300, 300, 6))
        assert (ratio.value, ratio.low, ratio.high, ratio.samples) == pytest.approx((1.5, 1.5, 1.5, 6))

    def test_what_slows_a_visit_slows_both_and_leaves_the_ratio(self) -> None:
        machine = Machine(slowness=[1, 5, 2, 3, 1, 4])
        time, ratio = settled(machine.contest(machine.prepare("own", 0.3), machine.prepare("baseline", 0.2)))
        assert ratio is not None
        assert (time.low, time.high) == pytest.approx((300, 1500))
        assert (ratio.value, ratio.low, ratio.high) == pytest.approx((1.5, 1.5, 1.5))

    def test_every_visit_builds_both_anew(self) -> None:
        machine = Machine()
        settled(machine.contest(machine.prepare("own", 0.3), machine.prepare("baseline", 0.2), visits=3))
        assert machine.built == ["own", "baseline"] * 3

    def test_other_contests_are_visited_in_between(self) -> None:
        machine = Machine()
        settle([machine.contest(machine.prepare(name, 0.3), None, visits=2) for name in ("a", "b")])
        assert machine.built == ["a", "b", "a", "b"]

    def test_shorter_lengths_come_first_whatever_the_order_asked_for(self) -> None:
        """So that a length too long to be timed is foretold by two that are not."""
        machine = Machine()
        contests = [machine.contest(machine.prepare(str(length), 0.3), None, visits=1) for length in (64, 8, 16)]
        for contest, length in zip(contests, (64, 8, 16), strict=True):
            contest.own.length = length
        settle(contests)
        assert machine.built == ["8", "16", "64"]

    def test_visits_go_on_for_the_shortest_time(self) -> None:
        machine = Machine()
        contest = machine.contest(machine.prepare("own", 0.3), None, visits=2, min_seconds=3.0)
        settle([contest])
        assert 3.0 <= contest.sampled < 4.0

    def test_visits_go_on_while_the_interval_of_the_ratio_is_wide_up_to_three_times_as_many(self) -> None:
        machine = Machine(slowness=[1, 2, 1, 3, 1, 2, 5])
        for tolerance, n_visits in ((0.03, 18), (9.0, 6)):
            own = machine.prepare(f"own, to {tolerance}", 0.3)
            contest = machine.contest(own, lambda: lambda: machine.pass_time(0.2), tolerance=tolerance)
            settle([contest])
            assert len(contest.visits) == n_visits

    def test_no_visit_begins_after_the_longest_time(self) -> None:
        contest = Machine().contest(lambda: lambda: None, None, visits=1000, max_seconds=1e-9)
        settle([contest])
        assert len(contest.visits) == 1


class TestFailures:
    @pytest.mark.parametrize(
        ("error", "status", "detail"),
        [
            (torch.OutOfMemoryError("no 3 GiB left\nhere"), "oom", "OutOfMemoryError: no 3 GiB left"),
            (MemoryError(), "oom", "MemoryError"),
            (
                RuntimeError("[enforce fail at a.cpp:1] can't allocate memory: you tried to allocate 536870912 bytes."),
                "oom",
                "RuntimeError: could not allocate 0.50 GiB",
            ),
            (DoesNotFitError("rank is 64"), "unsupported", "rank is 64"),
            (NotImplementedError("no such kernel"), "unsupported", "NotImplementedError: no such kernel"),
            (RuntimeError("not implemented for 'Half'"), "unsupported", "RuntimeError: not implemented for 'Half'"),
            (RuntimeError("shapes differ"), "failed", "RuntimeError: shapes differ"),
        ],
        ids=["oom", "no memory", "allocator", "does not fit", "not implemented", "no half", "error"],
    )  # fmt: skip
    def test_work_that_fails_says_why_in_both_rows(self, error: Exception, status: str, detail: str) -> None:
        machine = Machine()
        time, ratio = settled(machine.contest(raising(error), machine.prepare("baseline", 0.2)))
        assert ratio is not None
        assert (time.value, time.status, time.detail) == (None, status, detail)
        assert (ratio.value, ratio.status, ratio.detail) == (None, status, detail)
        assert machine.built == []

    def test_a_baseline_that_fails_is_named_and_the_work_is_timed_without_it(self) -> None:
        machine = Machine()
        failing = raising(torch.OutOfMemoryError("no 3 GiB left"))
        time, ratio = settled(machine.contest(machine.prepare("own", 0.3), failing))
        assert ratio is not None
        assert (time.value, time.samples) == pytest.approx((300, 6))
        assert (ratio.value, ratio.status, ratio.samples) == (None, "oom", 0)
        assert ratio.detail == "softmax, the baseline: OutOfMemoryError: no 3 GiB left"

    def test_one_that_does_not_fit_beside_the_work_is_the_one_to_go(self) -> None:
        machine = Machine()
        calls: list[int] = []

        def beside() -> None:
            machine.pass_time(0.2)
            calls.append(1)
            if len(calls) > 1:
                raise torch.OutOfMemoryError("no room for two")

        time, ratio = settled(machine.contest(machine.prepare("own", 0.3), lambda: beside))
        assert ratio is not None
        assert (time.value, time.samples) == pytest.approx((300, 6))
        assert (ratio.status, ratio.detail) == ("oom", "softmax, the baseline: OutOfMemoryError: no room for two")

    def test_a_call_over_time_is_a_timeout_and_so_are_longer_lengths(self) -> None:
        machine, reach = Machine(), Reach(1.0)
        effort = Effort(6, 0.0, 60.0, 0.03)
        contests = [
            Contest(
                Side(length, machine.prepare(str(length), length / 400), reach), None, machine.stopwatch, effort, None
            )
            for length in (256, 512, 1024)
        ]
        settle(contests)
        assert [contest.own.reason for contest in contests] == [
            None,
            Reason("timeout", "one call took 1.28 s, more than max_seconds (1)"),
            Reason("timeout", "not tried, because 512 tokens gave timeout already"),
        ]
        assert "1024" not in machine.built
