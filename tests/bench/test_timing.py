"""Samples in turns, with clocks that the tests own."""

from bench.timing import Effort, take_turns


class Clock:
    """A clock that moves only when a call says how long it took."""

    def __init__(self) -> None:
        self.now = 0.0
        self.called: list[str] = []

    def __call__(self) -> float:
        return self.now

    def call(self, name: str, seconds: float) -> None:
        self.now += seconds
        self.called.append(name)


def test_implementations_take_turns() -> None:
    clock = Clock()
    calls = {"a": lambda: clock.call("a", 1.0), "b": lambda: clock.call("b", 2.0)}
    taken = take_turns(calls, Effort(samples=3, fewest=1, budget=100.0, short=0.0), clock)
    assert clock.called == ["a", "b", "a", "b", "a", "b"]
    assert (taken["a"].seconds, taken["b"].lowest) == ([1.0, 1.0, 1.0], 2.0)


def test_the_lowest_sample_counts() -> None:
    clock, durations = Clock(), iter([3.0, 1.0, 2.0])
    taken = take_turns({"a": lambda: clock.call("a", next(durations))}, Effort(3, 1, 100.0, 0.0), clock)
    assert taken["a"].lowest == 1.0


def test_each_has_a_budget_of_its_own_and_the_fewest_samples() -> None:
    clock = Clock()
    calls = {"slow": lambda: clock.call("slow", 10.0), "fast": lambda: clock.call("fast", 1.5)}
    taken = take_turns(calls, Effort(samples=9, fewest=2, budget=5.0), clock)
    assert clock.called == ["slow", "fast", "slow", "fast", "fast", "fast"]
    assert (len(taken["slow"].seconds), len(taken["fast"].seconds)) == (2, 4)


def test_short_calls_are_sampled_longer_and_ten_times_as_often_at_most() -> None:
    clock = Clock()
    taken = take_turns({"a": lambda: clock.call("a", 0.5)}, Effort(2, 1, 100.0, short=3.0), clock)
    assert len(taken["a"].seconds) == 6
    taken = take_turns({"a": lambda: clock.call("a", 0.001)}, Effort(2, 1, 100.0, short=3.0), clock)
    assert len(taken["a"].seconds) == 20


def test_what_takes_long_is_sampled_once() -> None:
    clock = Clock()
    calls = {"slow": lambda: clock.call("slow", 50.0), "fast": lambda: clock.call("fast", 1.0)}
    taken = take_turns(calls, Effort(samples=3, fewest=3, budget=1000.0, long_call=45.0), clock)
    assert (len(taken["slow"].seconds), len(taken["fast"].seconds)) == (1, 3)


def test_an_error_ends_one_implementation_and_is_kept() -> None:
    clock = Clock()

    def fail() -> None:
        clock.called.append("bad")
        raise RuntimeError("no kernel")

    taken = take_turns({"bad": fail, "good": lambda: clock.call("good", 1.0)}, Effort(2, 2, 10.0, 0.0), clock)
    assert clock.called == ["bad", "good", "good"]
    assert (taken["bad"].lowest, str(taken["bad"].error), taken["good"].lowest) == (None, "no kernel", 1.0)
