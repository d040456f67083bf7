from __future__ import annotations

import io
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import polars as pl
import pytest

from attention_arena.report.figures import Figure, register_figures
from attention_arena.report.figures.figure import MORE
from attention_arena.report.figures.style import INK, house_style, log_ticks, looks, verbatim
from attention_arena.report.page.drawing import Drawing, draw_figure
from attention_arena.report.reading.results import Results, load_results
from tests.core.report.pictures import one_element

FIGURES = {figure.name: figure for figure in register_figures() if figure.section == MORE}


def _results(study: Any, tmp_path: Path) -> Results:
    return load_results(study.write(tmp_path))


@pytest.fixture(scope="module")
def drawn(mixed_report: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Results, dict[str, Drawing]]:
    """The folder, the results and the drawings of a study with a hostile name."""
    folder = tmp_path_factory.mktemp("figures")
    results = load_results(mixed_report.parent.parent)
    return folder, results, {name: draw_figure(figure, results, folder) for name, figure in FIGURES.items()}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_leaves_a_picture_and_its_numbers(drawn: Any, name: str) -> None:
    folder, results, drawings = drawn
    ElementTree.parse(folder / f"{name}.svg")
    assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert len(pl.read_csv(folder / f"{name}.csv")) == len(FIGURES[name].data(results)) > 0
    assert one_element(drawings[name]).startswith("<svg ")


@pytest.mark.parametrize("name", FIGURES)
def test_a_picture_shows_hostile_names_as_text(drawn: Any, fakes: Any, name: str) -> None:
    svg = one_element(drawn[2][name])
    assert "<script" not in svg
    texts = ["".join(each.itertext()).strip() for each in ElementTree.fromstring(svg).iter("text")]
    assert fakes.HOSTILE in texts


@pytest.mark.parametrize("name", FIGURES)
def test_an_inline_picture_reaches_for_nothing_and_shares_no_name(drawn: Any, name: str) -> None:
    root = ElementTree.fromstring(one_element(drawn[2][name]))
    assert {element.tag for element in root.iter()}.isdisjoint({"style", "script", "metadata", "image"})
    names = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert all(each.startswith(f"{name}-") for each in names)
    for element in root.iter():
        if "href" in element.attrib:
            assert element.attrib["href"][1:] in names
        for target in re.findall(r"url\(([^)]*)\)", " ".join(element.attrib.values())):
            assert target[1:] in names


@pytest.mark.parametrize("name", FIGURES)
def test_an_inline_picture_takes_the_pages_colours(drawn: Any, name: str) -> None:
    svg = one_element(drawn[2][name])
    assert INK not in svg
    assert "currentColor" in svg
    assert "#ffffff" not in svg


def test_the_same_results_give_the_same_picture(drawn: Any, tmp_path: Path) -> None:
    folder, results, drawings = drawn
    name = "quality_speed_memory"
    assert draw_figure(FIGURES[name], results, tmp_path) == drawings[name]
    assert (tmp_path / f"{name}.svg").read_bytes() == (folder / f"{name}.svg").read_bytes()


def test_drawing_leaves_no_figure_and_no_setting_behind(mixed: Path, tmp_path: Path) -> None:
    code = """
import sys
import matplotlib
before = dict(matplotlib.rcParams)
from pathlib import Path
from attention_arena.report.page.drawing import Drawing, draw_figure
from attention_arena.report.figures import register_figures
from attention_arena.report.reading.results import load_results
draw_figure(register_figures()[0], load_results(sys.argv[1]), Path(sys.argv[2]))
from matplotlib import pyplot
print(pyplot.get_fignums(), [key for key in before if before[key] != matplotlib.rcParams[key]])
"""
    command = [sys.executable, "-c", code, str(mixed), str(tmp_path / "figures")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[] []"


def test_the_frontier_is_what_nothing_beats_in_both(tmp_path: Path, fakes: Any) -> None:
    fast_and_bad = fakes.SOFTMAX._replace(name="bad", label="bad", skill=0.2, speed=90_000)
    study = fakes.FakeStudy(variants=[fakes.SOFTMAX, fakes.TRANSFORMER_XL, fakes.REFORMER, fast_and_bad])
    data = FIGURES["quality_speed_memory"].data(_results(study, tmp_path))
    for task in ("listops", "language_model"):
        frontier = data.filter((pl.col("task") == task) & pl.col("pareto"))["label"].to_list()
        assert frontier == ["softmax", fakes.TRANSFORMER_XL.label, "bad"]


def test_equal_variants_are_both_on_the_frontier(tmp_path: Path, fakes: Any) -> None:
    twin = fakes.SOFTMAX._replace(name="twin", label="twin")
    study = fakes.FakeStudy(variants=[fakes.SOFTMAX, twin], tasks=[fakes.LISTOPS], seeds=[0], changes={"value": 50.0})
    assert FIGURES["quality_speed_memory"].data(_results(study, tmp_path))["pareto"].to_list() == [True, True]


def test_learning_curves_are_means_over_seeds_of_the_compared_metric(tmp_path: Path, fakes: Any) -> None:
    results = _results(fakes.FakeStudy(seeds=[0, 1, 2]), tmp_path)
    data = FIGURES["learning_curves"].data(results)
    assert set(data["metric"]) == {"accuracy", "bits_per_byte"}
    [row] = data.filter(
        (pl.col("label") == "softmax") & (pl.col("task") == "listops") & (pl.col("step") == 500)
    ).to_dicts()
    values = results.curves.filter(
        (pl.col("label") == "softmax") & (pl.col("metric") == "accuracy") & (pl.col("step") == 500)
    )["value"].to_list()
    assert row["value"] == pytest.approx(sum(values) / 3)
    assert (row["low"], row["high"], row["seeds"]) == (min(values), max(values), 3)


def test_a_curve_without_any_score_yet_is_drawn_all_the_same(tmp_path: Path, fakes: Any) -> None:
    failed = {("softmax", "listops", seed): ("diverged", "loss is nan") for seed in (0, 1)}
    study = fakes.FakeStudy(variants=[fakes.SOFTMAX], tasks=[fakes.LISTOPS], verdicts=failed)
    results = _results(study, tmp_path)
    assert set(FIGURES["learning_curves"].data(results)["metric"]) == {"accuracy"}
    assert draw_figure(FIGURES["learning_curves"], results, tmp_path / "figures").picture


def test_a_long_curve_is_thinned_and_keeps_its_last_point(tmp_path: Path, fakes: Any) -> None:
    study = fakes.FakeStudy(variants=[fakes.SOFTMAX], tasks=[fakes.LISTOPS], seeds=[0], curve_points=450)
    picture = FIGURES["learning_curves"].draw(_results(study, tmp_path))
    line = picture.axes[0].lines[0]
    assert len(line.get_xdata()) == 150
    assert line.get_xdata()[-1] == 44_900


@pytest.mark.parametrize("values", [(12_000, 15_000), (5_000, 90_000), (3.0, 1_000.0), (70_000, 71_000), (5.0, 5.0)])
@pytest.mark.parametrize("base", [2, 10])
def test_a_logarithmic_axis_has_a_few_ticks_however_close_its_values(values: tuple[float, float], base: int) -> None:
    from matplotlib.figure import Figure as Picture

    panel = Picture().subplots()
    panel.plot([1, 2], values)
    panel.set_yscale("log")
    panel.yaxis.set_major_locator(log_ticks(values, base))
    low, high = panel.get_ylim()
    assert 1 <= sum(low <= tick <= high for tick in panel.get_yticks()) <= 10


def test_every_variant_has_its_own_colour_and_marker() -> None:
    found = looks([f"variant {index}" for index in range(30)])
    assert len(set(found.values())) == 30
    first_ten = list(found.values())[:10]
    assert len({look.colour for look in first_ten}) == len({look.marker for look in first_ten}) == 10


@pytest.mark.parametrize("text", ["$x$", "a $b", r"\$5", "_hidden", "^_{}", "<é> & Σ"])
def test_text_in_a_figure_is_what_was_written(text: str) -> None:
    from matplotlib.figure import Figure as Picture

    assert not verbatim(text).startswith("_")
    picture = Picture(figsize=(1, 1))
    picture.text(0, 0, verbatim(text))
    svg = io.BytesIO()
    with house_style():
        picture.savefig(svg, format="svg")
    svg.seek(0)
    texts = [
        "".join(each.itertext()).strip() for each in ElementTree.parse(svg).iter("{http://www.w3.org/2000/svg}text")
    ]
    assert texts == [text]


def test_a_figure_that_fails_is_named_and_left_out(mixed: Path, tmp_path: Path) -> None:
    def fail(results: Results) -> pl.DataFrame:
        raise KeyError("no such column")

    broken = Figure("broken", "Broken", "It fails.", draw=fail, data=fail)
    with pytest.warns(UserWarning, match="figure 'broken' is left out"):
        drawing = draw_figure(broken, load_results(mixed), tmp_path)
    assert drawing.picture is None
    assert "KeyError" in drawing.nothing


def test_a_figure_without_data_says_so_and_removes_the_one_before(mixed: Path, tmp_path: Path, fakes: Any) -> None:
    draw_figure(FIGURES["cost_by_length"], load_results(mixed), tmp_path / "figures")
    nothing = _results(fakes.FakeStudy(name="none", measure=False), tmp_path)
    drawing = draw_figure(FIGURES["cost_by_length"], nothing, tmp_path / "figures")
    assert drawing.nothing == "Nothing was timed at two lengths or more."
    assert list((tmp_path / "figures").iterdir()) == []


def test_drawing_is_quiet(mixed: Path, tmp_path: Path) -> None:
    results = load_results(mixed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_figure(FIGURES["quality_speed_memory"], results, tmp_path)
