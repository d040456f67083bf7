from __future__ import annotations

import math
from typing import Any

import pytest

from attention_arena.report.figures.cost import SPACE, TIME, size_tick
from attention_arena.report.figures.curves import spread
from attention_arena.report.figures.style import house_style
from attention_arena.report.figures.time_ratio import RATIO
from attention_arena.report.reading.results import Results
from tests.core.report.cost_results import Costly, cost_results

FUSED = Costly("softmax", lambda n: 1e-5 * n**2, spread=1.05)
NAIVE = Costly("naive", lambda n: 4e-5 * n**2, variant="softmax", stops={16384: "oom"})
LINEAR = Costly("linear", lambda n: 0.03 * n)
PASSTHROUGH = Costly("passthrough", lambda n: 0.001 * n)
ALL = [FUSED, NAIVE, LINEAR, PASSTHROUGH]


def drawn(figure: Any, results: Results) -> Any:
    with house_style():
        picture = figure.draw(results)
        picture.canvas.draw()
    return picture


def line_through(panel: Any, length: float, value: float) -> Any:
    [line] = [
        line
        for line in panel.lines
        if len(line.get_xdata()) > 2
        and any(math.isclose(x, length) and math.isclose(y, value) for x, y in zip(*line.get_data(), strict=True))
    ]
    return line


def test_a_linear_cost_is_a_flat_line_and_a_quadratic_one_has_slope_one() -> None:
    [panel] = drawn(TIME, cost_results(ALL)).axes
    assert list(line_through(panel, 512, 0.03).get_ydata()) == pytest.approx([0.03] * 6)
    x, y = line_through(panel, 512, 1e-5 * 512).get_data()
    assert list(y) == pytest.approx([1e-5 * each for each in x])


def test_a_line_that_was_cut_off_leads_to_a_cross_at_the_top() -> None:
    [panel] = drawn(TIME, cost_results(ALL)).axes
    [cross] = [line for line in panel.lines if line.get_marker() == "x"]
    assert list(cross.get_xdata()) == [16384]
    assert cross.get_ydata()[0] > 4e-5 * 8192
    [lead] = [line for line in panel.lines if line.get_linestyle() == ":"]
    assert list(lead.get_xdata()) == [8192, 16384]


def test_two_that_were_cut_off_at_one_length_do_not_hide_each_other() -> None:
    results = cost_results([FUSED._replace(stops={16384: "timeout"}), NAIVE])
    [panel] = drawn(TIME, results).axes
    heights = {line.get_marker(): line.get_ydata()[0] for line in panel.lines if line.get_marker() in ("x", "+")}
    assert heights["x"] > heights["+"] > 1e-5 * 8192


def test_a_variant_that_cannot_do_the_task_is_a_mark_and_no_gap() -> None:
    [panel] = drawn(TIME, cost_results([FUSED, LINEAR._replace(status="unsupported")])).axes
    assert [line.get_xdata()[0] for line in panel.lines if line.get_marker() == "1"] == [512]


def test_the_exponent_stands_at_each_lines_end() -> None:
    [panel] = drawn(TIME, cost_results(ALL)).axes
    assert sorted(text.get_text() for text in panel.texts) == ["1.00", "1.00", "2.00", "2.00", "exponent"]


def test_the_reference_is_dashed_and_the_others_are_not() -> None:
    [panel] = drawn(TIME, cost_results(ALL, references=["passthrough"])).axes
    assert line_through(panel, 512, 0.001).is_dashed()
    assert not line_through(panel, 512, 0.03).is_dashed()


def test_the_ring_is_at_the_break_even_length() -> None:
    [panel] = drawn(RATIO, cost_results([FUSED, LINEAR])).axes
    [ring] = [line for line in panel.lines if line.get_markerfacecolor() == "none" and line.get_marker() == "o"]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (pytest.approx(3000), 1.0)


def test_ratios_are_those_timed_in_turn_where_there_are_any() -> None:
    found = RATIO.data(cost_results([FUSED, LINEAR], timed_together={"linear": lambda n: 2000 / n}))
    assert found["ratio"].to_list() == pytest.approx([2000 / n for n in found["length"]])
    assert set(found["timed"]) == {"together"}


def test_there_is_no_ratio_without_a_baseline_beside_another() -> None:
    assert RATIO.data(cost_results([FUSED])).is_empty()


def test_the_numbers_keep_what_has_no_value_and_why() -> None:
    found = TIME.data(cost_results(ALL)).filter(label="naive", length=16384)
    assert found.select("value", "status", "detail").rows() == [(None, "oom", "oom at 16384")]


def test_time_and_memory_are_figures_of_their_own() -> None:
    results = cost_results(ALL, measure="peak_resident")
    assert TIME.data(results).is_empty()
    assert len(SPACE.data(results)) == 24
    assert drawn(SPACE, results).axes[0].get_ylabel() == "memory per token"


def test_what_was_measured_at_one_length_is_not_drawn() -> None:
    found = TIME.data(cost_results(ALL, lengths=[512]))
    assert found.is_empty()
    assert found.columns == TIME.data(cost_results(ALL)).columns


def test_a_panel_in_which_nothing_has_a_value_is_left_out() -> None:
    assert TIME.data(
        cost_results([FUSED._replace(stops=dict.fromkeys([512 * 2**k for k in range(6)], "oom"))])
    ).is_empty()


@pytest.mark.parametrize(
    ("heights", "expected"),
    [
        ([0.1, 0.5, 0.9], [0.1, 0.5, 0.9]),
        ([0.5, 0.5], [0.45, 0.55]),
        ([0.2, 0.5, 0.52, 0.54], [0.2, 0.42, 0.52, 0.62]),
        ([], []),
    ],
    ids=["apart", "equal", "group", "none"],
)
def test_names_beside_a_panel_move_apart_and_no_farther(heights: list[float], expected: list[float]) -> None:
    assert spread(heights, 0.1) == pytest.approx(expected)


@pytest.mark.parametrize(("value", "text"), [(65536.0, "64 KiB"), (1536.0, "1.5 KiB"), (100.0, "100 B")])
def test_bytes_at_an_axis_have_no_trailing_zeros(value: float, text: str) -> None:
    assert size_tick(value) == text
