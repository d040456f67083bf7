"""The table of the benchmark, what follows from it, and the bars."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.bars import judge
from bench.output import RowFile, read_rows
from bench.rows import Row, best_peer, relate
from bench.summary import break_even, growth, lines

ROW = Row(
    setting="base",
    direction="bidirectional",
    length=4096,
    phase="training",
    dtype="float32",
    idea="linformer",
    implementation="linformer",
    ours=True,
    counts=True,
    status="done",
    cpu_seconds=0.2,
    samples=5,
    peak_mib=100.0,
)
SOFTMAX = replace(ROW, idea="softmax", implementation="softmax", cpu_seconds=1.0, wall_seconds=0.5)
PEER = replace(ROW, implementation="theirs", ours=False, cpu_seconds=0.25, peak_mib=400.0)


def test_ratios_are_to_fused_softmax_and_to_the_fastest_peer_that_counts() -> None:
    slow = replace(PEER, implementation="slow", cpu_seconds=0.5)
    other = replace(PEER, implementation="another idea's figures", counts=False, cpu_seconds=0.1)
    failed = replace(PEER, implementation="broken", status="failed", cpu_seconds=None)
    found = {row.implementation: row for row in relate([SOFTMAX, ROW, slow, PEER, other, failed])}
    ours = found["linformer"]
    assert ours.ratio == pytest.approx(0.2)
    assert (ours.best_peer, ours.ratio_to_best_peer) == ("theirs", pytest.approx(0.8))
    assert ours.peak_ratio_to_best_peer == pytest.approx(0.25)
    assert found["theirs"].ratio == pytest.approx(0.25)
    assert found["theirs"].best_peer == ""
    assert found["broken"].ratio is None


def test_without_any_timed_peer_there_is_no_best_one() -> None:
    assert best_peer([SOFTMAX, ROW, replace(PEER, cpu_seconds=None)], "linformer") is None


def test_the_exponent_is_that_of_a_power_law_and_needs_both_ends() -> None:
    seconds = {length: 3e-6 * length**1.5 for length in (512, 2048, 4096, 16384)}
    seconds[512] = 100.0  # outside the range that is fitted
    assert growth(seconds) == pytest.approx(1.5)
    assert growth({length: seconds[length] for length in (512, 2048, 4096)}) is None
    assert growth({}) is None


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ({}, ""),
        ({512: 0.9, 1024: 0.5}, "below 512"),
        ({512: 2.0, 2048: 0.5}, "1024"),
        ({512: 0.5, 1024: 2.0, 2048: 0.5}, "1448"),
        ({512: 2.0, 2048: 1.5}, "none up to 2048"),
    ],
)
def test_break_even_is_interpolated_on_logarithmic_axes(ratios: dict[int, float], expected: str) -> None:
    assert break_even(ratios) == expected


def test_a_bar_holds_is_missed_or_was_not_measured() -> None:
    # At 4096 tokens linformer's bar is 0.25 of fused softmax, and 0.9 of the best peer.
    rows = relate([SOFTMAX, ROW, PEER])
    verdicts = {verdict.bar: verdict for verdict in judge(rows, lines(rows))}
    assert verdicts["time over fused softmax"].holds is True
    assert verdicts["time over the best peer"].holds is True
    rows = relate([SOFTMAX, replace(ROW, cpu_seconds=0.26), PEER])
    verdicts = {verdict.bar: verdict for verdict in judge(rows, lines(rows))}
    assert verdicts["time over fused softmax"].holds is False
    assert verdicts["time over the best peer"].holds is False
    rows = relate([SOFTMAX, replace(ROW, cpu_seconds=None, status="oom", reason="too large")])
    (verdict,) = (each for each in judge(rows, lines(rows)) if each.bar == "time over fused softmax")
    assert (verdict.holds, verdict.detail) == (None, "too large")


def test_half_precision_is_held_against_float32_of_the_same_cell() -> None:
    slower = replace(ROW, dtype="bf16", cpu_seconds=0.3)
    rows = [*relate([SOFTMAX, ROW]), *relate([replace(SOFTMAX, dtype="bf16"), slower])]
    verdicts = [each for each in judge(rows, lines(rows)) if each.bar == "time in bf16 over float32"]
    found = {each.where.partition(",")[0]: (each.found, each.holds) for each in verdicts}
    assert found == {"softmax": (1.0, True), "linformer": (pytest.approx(1.5), False)}


def test_a_table_reads_back_as_it_was_written(tmp_path: Path) -> None:
    rows = relate([SOFTMAX, ROW, replace(PEER, status="oom", reason='more than 10 MiB, "so"', cpu_seconds=None)])
    file = RowFile(tmp_path / "new" / "times.csv")
    file.add(rows[:1])
    file.add(rows[1:])
    file.close()
    assert read_rows(tmp_path / "new" / "times.csv") == rows
