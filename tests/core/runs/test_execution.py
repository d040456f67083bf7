"""A run's measures: what one of them raises is a row of the table, and costs neither the score nor the others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from attention_arena.measure import Measurement
from attention_arena.measures.passes import Reason, value_or_reason
from attention_arena.runs.execution import Execution
from attention_arena.runs.spec import MeasureSpec
from attention_arena.variant import Options


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (IndexError("out of range"), "failed", "IndexError: out of range"),
        (MemoryError(), "oom", "MemoryError"),
        (NotImplementedError("no weights"), "unsupported", "NotImplementedError: no weights"),
    ],
)
def test_what_a_measure_raises_is_a_row(error: Exception, status: str, detail: str) -> None:
    def run(options: Options, subject: Any) -> list[Measurement]:
        raise error

    execution = Execution.__new__(Execution)
    execution.catalogue = SimpleNamespace(measure=lambda name: SimpleNamespace(options=Options, run=run))  # type: ignore[assignment]
    (row,) = execution._measured(MeasureSpec(name="odd", options={}), subject=None)  # type: ignore[arg-type]
    assert (row.measure, row.value, row.status, row.detail) == ("odd", None, status, detail)


@pytest.mark.parametrize("error", [IndexError("out of range"), KeyError("head"), AssertionError("odd")])
def test_what_a_cell_raises_costs_that_cell(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def fill() -> float:
        raise error

    reason = value_or_reason(fill)
    assert isinstance(reason, Reason)
    assert reason == ("failed", f"{type(error).__name__}: {error}")
    assert "Traceback" in capsys.readouterr().err
