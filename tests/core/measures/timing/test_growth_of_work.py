"""From attention that takes a known time to the exponent that is reported of it."""

import math
import time
from collections.abc import Callable

import pytest
from torch import Tensor

from attention_arena.layers import AttentionOutput
from attention_arena.measures import SPEED
from attention_arena.measures.timing.stopwatch import CLOCKS
from attention_arena.statistics import Point, exponent, upper_half
from attention_arena.variant import Context
from tests.core.measures.toys import Nothing, measured, subject_of

LENGTHS = [64 * 2**k for k in range(6)]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (lambda n: 1e-3 * n, 1.0),
        (lambda n: 1e-4 * n * math.log(n), 1.0 + 1 / math.log(724)),
        (lambda n: 1e-6 * n**2, 2.0),
    ],
    ids=["n", "n log n", "n^2"],
)
@pytest.mark.usefixtures("seeded_on_one_thread")
def test_the_time_of_an_attention_of_known_growth_has_its_exponent(
    seconds: Callable[[int], float], expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = [0.0]
    # Time goes on with this process's own work and with what attention says that it takes.
    monkeypatch.setitem(CLOCKS, "wall", lambda: time.process_time() + slept[0])

    class Taking(Nothing):
        def forward(self, x: Tensor, context: Context) -> AttentionOutput:
            slept[0] += x.shape[0] * seconds(x.shape[1])
            return super().forward(x, context)

    options = {"lengths": LENGTHS, "tokens_per_step": LENGTHS[-1], "phases": ["training"]}
    rows = measured(SPEED, subject_of(Taking), **options, repetitions=6, min_seconds=0.0)
    points = [
        Point(
            row.length or 0, *((value or math.nan) / (row.batch_size or 1) for value in (row.value, row.low, row.high))
        )
        for row in rows
        if row.measure == "step_time"
    ]
    found = exponent(upper_half(points))
    assert found.value == pytest.approx(expected, abs=0.1)
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low < 0.4
