"""The search ends between a size that fits and one little larger that does not, and says what it knows if it cannot."""

from collections.abc import Callable

import pytest

from attention_arena.measure import Answer
from attention_arena.measures.memory.search import Search

BUDGET = 1000.0


def linear(size: int) -> float:
    return 37 + 0.71 * size


def quadratic(size: int) -> float:
    return 5 + 0.3 * size + 0.0004 * size**2


def stairs(size: int) -> float:
    return 10 + 8.0 * (-(-size // 64))


COSTS = {"linear": linear, "quadratic": quadratic, "stairs": stairs}


def largest(cost: Callable[[int], float]) -> int:
    """Return the largest size within the budget, by looking at every one."""
    size = 1
    while cost(size + 1) <= BUDGET:
        size += 1
    return size


class Attempts:
    """Answers with a cost, or with nothing but `oom` where it is above `knows` budgets; remembers the sizes."""

    def __init__(self, cost: Callable[[int], float], knows: float = 1.0) -> None:
        self.cost, self.knows = cost, knows
        self.sizes: list[int] = []

    def __call__(self, size: int) -> Answer:
        self.sizes.append(size)
        cost = self.cost(size)
        return Answer("done", cost) if cost <= self.knows * BUDGET else Answer("oom", detail="no memory")


class TestSearch:
    @pytest.mark.parametrize("knows", [1.0, 2.0])
    @pytest.mark.parametrize("start", [1, 300, 50_000])
    @pytest.mark.parametrize("name", COSTS)
    def test_the_answer_is_the_largest_size_but_for_the_resolution(self, name: str, start: int, knows: float) -> None:
        attempts = Attempts(COSTS[name], knows)
        found = Search(attempts, BUDGET, resolution=0.05, at_most=20).run(start)
        truth = largest(COSTS[name])
        assert found.status == "done"
        assert found.size is not None
        assert truth / 1.05 - 1 <= found.size <= truth
        assert found.n_attempts == len(attempts.sizes) <= 12
        assert found.size in attempts.sizes

    @pytest.mark.parametrize("name", COSTS)
    def test_with_the_finest_resolution_it_is_exact(self, name: str) -> None:
        found = Search(Attempts(COSTS[name]), BUDGET, resolution=1e-9, at_most=40).run(1)
        assert found.size == largest(COSTS[name])

    def test_predictions_save_attempts(self) -> None:
        """Doubling from 1 to 1356 and halving to 1 part in 20 would take about 15."""
        attempts = Attempts(linear)
        Search(attempts, BUDGET, resolution=0.05, at_most=20).run(1)
        assert len(attempts.sizes) <= 8

    def test_where_not_even_one_fits_it_is_out_of_memory(self) -> None:
        found = Search(Attempts(lambda size: 2000.0 * size), BUDGET, resolution=0.05, at_most=20).run(64)
        assert (found.size, found.status, found.detail) == (None, "oom", "not even 1 fits")

    @pytest.mark.parametrize("status", ["timeout", "failed", "unsupported"])
    def test_an_attempt_that_says_nothing_ends_it_with_what_is_known(self, status: str) -> None:
        def attempt(size: int) -> Answer:
            return Answer("done", float(size)) if size <= 8 else Answer(status, detail="took long")  # type: ignore[arg-type]

        found = Search(attempt, BUDGET, resolution=0.05, at_most=20).run(8)
        assert (found.size, found.status) == (None, status)
        assert found.detail == "8 fits; at 32: took long"

    def test_too_few_attempts_end_it_with_what_is_known(self) -> None:
        found = Search(Attempts(linear), BUDGET, resolution=0.05, at_most=2).run(1000)
        assert (found.size, found.status) == (None, "timeout")
        assert found.detail == "1,000 fits; 4,000 does not; 2 attempts did not narrow it down"
