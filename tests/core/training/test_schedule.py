"""Learning rate by step."""

from __future__ import annotations

import pytest

from attention_arena.study.schema import TrainingSettings
from attention_arena.training.schedule import learning_rate


def rates(schedule: str, steps: int = 100, warmup: int = 10) -> list[float]:
    settings = TrainingSettings(steps=steps, warmup_steps=warmup, learning_rate=2.0, schedule=schedule)
    return [learning_rate(settings, step) for step in range(1, steps + 1)]


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "inverse_sqrt"])
def test_warm_up_is_linear_and_reaches_the_peak(schedule):
    assert rates(schedule)[:10] == pytest.approx([0.2 * step for step in range(1, 11)])
    assert max(rates(schedule)) == pytest.approx(2.0)


def test_decays_end_where_they_should():
    assert rates("constant")[-1] == 2.0
    assert rates("linear")[-1] == pytest.approx(0.0)
    assert rates("linear")[54] == pytest.approx(1.0)
    assert rates("cosine")[-1] == pytest.approx(0.0)
    assert rates("cosine")[54] == pytest.approx(1.0)
    assert rates("inverse_sqrt")[39] == pytest.approx(2.0 * (10 / 40) ** 0.5)


def test_no_warm_up_starts_at_the_peak():
    assert rates("constant", warmup=0)[0] == 2.0
    assert rates("inverse_sqrt", warmup=0)[0] == 2.0
