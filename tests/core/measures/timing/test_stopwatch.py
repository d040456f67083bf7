"""Time is told by the clock asked for, without warm-up, and turn by turn."""

import gc
import time
from collections.abc import Callable

import pytest
import torch

from attention_arena.measures.timing.stopwatch import (
    OverTimeError,
    block_size,
    stopwatch_for,
    take_turns,
    undisturbed,
    warm_up,
)
from tests.core.measures.fake_cuda import FakeCuda
from tests.core.measures.toys import CPU

GPU = torch.device("cuda")


class Clock:
    """A clock that only work moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.worked: list[str] = []

    def work(self, name: str, *seconds: float) -> Callable[[], None]:
        """Return work that takes the given seconds, call by call, and the last of them from then on."""
        left = list(seconds)

        def call() -> None:
            self.worked.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return call

    def stopwatch(self, call: Callable[[], object], n_calls: int) -> float:
        began = self.now
        for _ in range(n_calls):
            call()
        return self.now - began


class TestStopwatch:
    def test_the_wall_clock_counts_sleep_and_the_processor_clock_does_not(self) -> None:
        assert stopwatch_for(CPU)(lambda: time.sleep(0.01), 3) >= 0.03
        assert stopwatch_for(CPU, "cpu")(lambda: time.sleep(0.01), 3) < 0.01

    def test_the_work_is_done_as_often_as_asked(self) -> None:
        calls: list[int] = []
        stopwatch_for(CPU)(lambda: calls.append(1), 7)
        assert len(calls) == 7

    def test_a_gpus_events_stand_around_the_work_in_a_queue_that_was_empty(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cuda = FakeCuda(monkeypatch)
        assert stopwatch_for(GPU)(lambda: cuda.work(seconds=0.25), 2) == pytest.approx(0.5)
        assert cuda.calls == ["synchronize", "record", "work", "work", "record", "event.synchronize"]

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_a_gpu_is_timed_until_its_work_is_done(self) -> None:
        x = torch.randn(4096, 4096, device=GPU)

        def work() -> None:
            torch.mm(x, x)

        warm_up(work, stopwatch_for(GPU), 10.0)
        torch.cuda.synchronize()
        began = time.perf_counter()
        seconds = stopwatch_for(GPU)(work, 20)
        torch.cuda.synchronize()
        assert seconds == pytest.approx(time.perf_counter() - began, rel=0.1)


class TestUndisturbed:
    def test_the_collector_rests_meanwhile(self) -> None:
        assert gc.isenabled()
        with undisturbed():
            assert not gc.isenabled()
        assert gc.isenabled()

    def test_it_goes_on_after_an_error(self) -> None:
        with pytest.raises(ValueError, match="inside"), undisturbed():
            raise ValueError("inside")
        assert gc.isenabled()
        assert gc.get_freeze_count() == 0


class TestWarmUp:
    def test_a_short_call_is_made_three_times_and_the_fastest_counts(self) -> None:
        clock = Clock()
        assert warm_up(clock.work("a", 0.01, 0.001, 0.002), clock.stopwatch, 1.0) == pytest.approx(0.001)
        assert clock.worked == ["a"] * 3

    def test_a_long_call_is_made_once(self) -> None:
        clock = Clock()
        assert warm_up(clock.work("a", 0.5), clock.stopwatch, 1.0) == pytest.approx(0.5)
        assert clock.worked == ["a"]

    def test_a_call_that_takes_too_long_is_over_time(self) -> None:
        clock = Clock()
        with pytest.raises(OverTimeError, match=r"one call took 3 s, more than max_seconds \(2\)"):
            warm_up(clock.work("a", 3.0), clock.stopwatch, 2.0)


class TestTakeTurns:
    def test_the_order_turns_from_round_to_round(self) -> None:
        clock = Clock()
        calls = [clock.work("a", 1.0), clock.work("b", 2.0)]
        assert take_turns(calls, [1, 1], clock.stopwatch, 3.0) == [[1, 1, 1], [2, 2, 2]]
        assert clock.worked == ["a", "b", "b", "a", "a", "b"]

    def test_it_can_begin_with_the_last(self) -> None:
        clock = Clock()
        take_turns([clock.work("a", 1.0), clock.work("b", 2.0)], [1, 1], clock.stopwatch, 1.0, turned=True)
        assert clock.worked == ["b", "a"]

    def test_a_block_counts_by_the_call(self) -> None:
        clock = Clock()
        taken = take_turns([clock.work("a", 0.5), clock.work("b", 4.0)], [4, 1], clock.stopwatch, 4.0)
        assert taken == [[0.5, 0.5], [4, 4]]
        assert clock.worked == ["a"] * 4 + ["b"] * 2 + ["a"] * 4

    def test_there_is_a_round_however_little_time_is_wanted(self) -> None:
        clock = Clock()
        assert take_turns([clock.work("a", 1.0)], [1], clock.stopwatch, 0.0) == [[1]]


@pytest.mark.parametrize(("seconds", "size"), [(0.5, 1), (0.01, 1), (0.006, 2), (0.001, 10), (0.0, 1000)])
def test_calls_shorter_than_a_block_are_timed_several_at_a_time(seconds: float, size: int) -> None:
    assert block_size(seconds) == size
