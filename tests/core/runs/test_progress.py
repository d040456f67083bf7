"""Bars on a terminal."""

from __future__ import annotations

from attention_arena.runs.progress import Bars


def test_every_run_in_progress_has_a_line_of_its_own(capsys):
    bars = Bars()
    bars.begin(total=3, kept=0)
    for run in ("a", "b", "c"):
        bars.started(run)
    bars.step("b", 3, 10)
    assert sorted(abs(bar.pos) for bar in bars.bars.values()) == [1, 2, 3]
    assert (bars.bars["b"].n, bars.bars["b"].total) == (3, 10)
    bars.end()
    assert "study" in capsys.readouterr().err
