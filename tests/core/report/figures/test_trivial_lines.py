"""The lines of scores that need no model: their names cover nothing, and where there is no room they are read there."""

from __future__ import annotations

import json
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest

from attention_arena.report.figures.marks import mark_of
from attention_arena.report.figures.style import house_style
from attention_arena.report.figures.tradeoff import TRADEOFF
from attention_arena.report.page.drawing import draw_figure
from attention_arena.report.reading.results import load_results
from tests.core.report.pictures import one_element

CASES = {
    "between": {"low rule": 30.0, "high rule": 46.0},
    "together": {"low rule": 43.9, "high rule": 44.1},
    "at the points": {"low rule": 44.0, "high rule": 49.6},
    "far off": {"low rule": -1e4, "high rule": 1e4},
    "long": {"low rule of which there is so much to tell": 43.0, "high rule of which there is so much to tell": 45.0},
    "many": {f"rule {index}": 38.0 + index for index in range(12)},
}


def _drawn(fakes: Any, tmp_path: Path, trivial: dict[str, float], n_tasks: int = 1) -> Any:
    tasks = [fakes.LISTOPS._replace(name=f"task{index}", trivial=trivial) for index in range(n_tasks)]
    spread = [
        fakes.REFORMER._replace(name=f"v{index}", label=f"v{index}", skill=0.4 + 0.04 * index, speed=2e4 * 1.3**index)
        for index in range(6)
    ]
    results = load_results(fakes.FakeStudy(variants=[fakes.SOFTMAX, *spread], tasks=tasks, seeds=[0]).write(tmp_path))
    with house_style():
        figure = TRADEOFF.draw(results)
        figure.draw_without_rendering()
    return figure


def _boxes_of_marks(panel: Any) -> list[Any]:
    """Return the extents of points and of their intervals, from the artists themselves."""
    from matplotlib.collections import LineCollection, PathCollection
    from matplotlib.transforms import Bbox

    boxes = []
    for artist in panel.collections:
        if isinstance(artist, PathCollection):
            [(x, y)] = panel.transData.transform(artist.get_offsets())
            half = artist.get_sizes()[0] ** 0.5 / 2 * panel.figure.dpi / 72
            boxes.append(Bbox.from_extents(x - half, y - half, x + half, y + half))
        elif isinstance(artist, LineCollection):
            boxes += [Bbox(panel.transData.transform(segment)) for segment in artist.get_segments()]
    return boxes


@pytest.mark.parametrize("case", CASES)
def test_a_name_covers_no_point_no_interval_and_no_other_name(tmp_path: Path, fakes: Any, case: str) -> None:
    [panel] = _drawn(fakes, tmp_path, CASES[case]).axes
    names = [text.get_window_extent() for text in panel.texts]
    marks = _boxes_of_marks(panel)
    assert len(marks) == 14
    assert not any(name.overlaps(mark) for name in names for mark in marks)
    assert not any(one.overlaps(other) for one, other in combinations(names, 2))
    frame = panel.get_window_extent()
    assert all(frame.x0 <= name.x0 and name.x1 <= frame.x1 for name in names)


def test_the_weakest_and_the_best_are_named_and_run_differently(tmp_path: Path, fakes: Any) -> None:
    [panel] = _drawn(fakes, tmp_path, {f"rule {index}": 20.0 + index for index in range(8)}).axes
    assert [text.get_text() for text in panel.texts] == ["rule 7", "rule 0"]
    lines = {line.get_ydata()[0]: line.get_linestyle() for line in panel.lines if len(set(line.get_ydata())) == 1}
    assert {lines[27.0], lines[20.0]} == {"--", ":"}


def test_a_line_off_the_axis_is_named_with_its_value(tmp_path: Path, fakes: Any) -> None:
    [panel] = _drawn(fakes, tmp_path, CASES["far off"]).axes
    assert sorted(text.get_text() for text in panel.texts) == [
        "high rule: 10,000.0, off the axis",
        f"low rule: {chr(0x2212)}10,000.0, off the axis",
    ]


def test_small_panels_have_no_names_and_the_key_says_what_lines_are(tmp_path: Path, fakes: Any) -> None:
    figure = _drawn(fakes, tmp_path, CASES["between"], n_tasks=7)
    assert [len(panel.texts) for panel in figure.axes if panel.axison] == [0] * 7
    key = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"best without a model", "weakest without a model"} <= set(key)


def test_a_line_is_read_by_pointer_and_keys_and_is_no_variants(tmp_path: Path, fakes: Any) -> None:
    tasks = [fakes.LISTOPS._replace(name=f"task{index}") for index in range(4)]
    results = load_results(fakes.FakeStudy(tasks=tasks, seeds=[0]).write(tmp_path))
    svg = one_element(draw_figure(TRADEOFF, results, tmp_path / "figures"))
    assert svg.count("first operator and its digits, which needs no model: 48.6 %") == 2 * len(tasks)
    panel = TRADEOFF.draw(results).axes[0]
    marks = [mark for artist in panel.lines if (mark := mark_of(artist)) and "no model" in json.dumps(mark.spots)]
    assert [mark.variant for mark in marks] == ["", ""]


@pytest.mark.parametrize("n_tasks", [1, 3, 7])
def test_labels_of_the_speed_axis_stand_apart(tmp_path: Path, fakes: Any, n_tasks: int) -> None:
    for panel in _drawn(fakes, tmp_path, {}, n_tasks).axes[:n_tasks]:
        low, high = panel.get_xlim()
        shown = [label for label in panel.get_xticklabels() if low <= label.get_position()[0] <= high]
        boxes = sorted((label.get_window_extent() for label in shown if label.get_text()), key=lambda box: box.x0)
        assert len(boxes) >= 2
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
