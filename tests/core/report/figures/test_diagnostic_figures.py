"""The figures of attention weights show what was measured, and take no room where nothing was."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy
import polars as pl
import pytest

from attention_arena.report.figures import register_figures
from attention_arena.report.figures.diagnostics.by_head import RANK, SPAN, SPARSITY
from attention_arena.report.figures.diagnostics.maps import MAPS, _tokens
from attention_arena.report.figures.diagnostics.spectrum import SPECTRUM
from attention_arena.report.figures.figure import DIAGNOSTICS
from attention_arena.report.figures.style import INK
from attention_arena.report.page.drawing import Drawing, draw_figure
from attention_arena.report.page.report import write_report
from attention_arena.report.reading.results import Results, load_results
from attention_arena.runs.arrays import Arrays
from tests.core.report.pictures import one_element

FIGURES = {figure.name: figure for figure in (MAPS, SPARSITY, SPAN, SPECTRUM, RANK)}
LAYERS, HEADS, CELLS = 5, 6, 64


def _row(measure: str, phase: str, value: float, unit: str = "%", **fields: Any) -> dict[str, Any]:
    return {"measure": measure, "phase": phase, "value": value, "unit": unit, "samples": 4} | fields


def _rows(skill: float) -> list[dict[str, Any]]:
    rows = []
    for layer in range(LAYERS):
        for phase, factor in (("trained", 0.4), ("untrained", 1.0), ("null: random queries and keys", 0.9)):
            rows += [
                _row("attention_spectrum", phase, min(100.0, place / (skill * factor)), layer=layer, position=place)
                for place in (1, 10, 25, 50, 100)
            ]
            for head in range(HEADS):
                place: dict[str, Any] = {"layer": layer, "head": head}
                value = 100 * skill * factor * (1 - 0.1 * head) / (1 + 0.3 * layer)
                rows.append(_row("attention_rank", phase, value, **place))
                rows.append(_row("attention_spectrum", phase, value, position=25, **place))
                if not phase.startswith("null"):
                    rows.append(_row("attention_sparsity", phase, value, **place))
                    rows.append(_row("attention_span", phase, 3 * value, "tokens", **place))
    return rows


def _give(folder: Path, skill: float, n_memory: int) -> None:
    """Add measurements and maps to a run that is done."""
    file = json.loads((folder / "record.json").read_text())
    file["measurements"] = _rows(skill)
    (folder / "record.json").write_text(json.dumps(file))
    places = numpy.arange(CELLS)
    near = numpy.exp(-numpy.abs(places[:, None] - places) / (1 + numpy.arange(LAYERS * HEADS)[:, None, None]))
    maps = (near / near.sum(-1, keepdims=True)).reshape(LAYERS, HEADS, CELLS, CELLS)
    arrays = Arrays(folder)
    arrays.save("attention_map.1.512", maps.astype(numpy.float32))
    arrays.save("attention_map.1.512.extent", numpy.array([n_memory, 256]))


def write(study: Any, results: Path) -> Path:
    """Write a study whose first seed has diagnostics, as runs leave them, and return its folder."""
    folder = study.write(results)
    for task in study.tasks:
        for place, variant in enumerate(study.variants):
            run = folder / "runs" / study.run(variant, task, study.seeds[0])
            if study.verdict(variant, task, study.seeds[0])[0] == "done":
                _give(run, 0.5 + 0.1 * place, n_memory=64 if variant.name == "transformer_xl" else 0)
    assert isinstance(folder, Path)
    return folder


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory, fakes: Any) -> tuple[Path, Results, dict[str, Drawing]]:
    hostile = fakes.REFORMER._replace(label=fakes.HOSTILE)
    study = fakes.FakeStudy(variants=(fakes.TRANSFORMER_XL, fakes.SOFTMAX, hostile))
    results = load_results(write(study, tmp_path_factory.mktemp("study")))
    folder = tmp_path_factory.mktemp("figures")
    return folder, results, {name: draw_figure(figure, results, folder) for name, figure in FIGURES.items()}


def _texts(svg: str) -> list[str]:
    return ["".join(each.itertext()).strip() for each in ElementTree.fromstring(svg).iter("text")]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_leaves_a_picture_and_its_numbers(drawn: Any, name: str) -> None:
    folder, results, drawings = drawn
    ElementTree.parse(folder / f"{name}.svg")
    assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert len(pl.read_csv(folder / f"{name}.csv")) == len(FIGURES[name].data(results)) > 0
    assert one_element(drawings[name]).startswith("<svg ")


@pytest.mark.parametrize("name", FIGURES)
def test_an_inline_picture_reaches_for_nothing_and_takes_the_pages_colours(drawn: Any, name: str) -> None:
    svg = one_element(drawn[2][name])
    assert "<script" not in svg
    assert INK not in svg
    assert "currentColor" in svg
    for element in ElementTree.fromstring(svg).iter():
        assert element.tag not in ("script", "style", "metadata")
        reference = element.attrib.get("href", "#")
        assert reference.startswith(("#", "data:image/png;base64,"))


@pytest.mark.parametrize("name", FIGURES)
def test_a_picture_shows_hostile_names_as_text(drawn: Any, fakes: Any, name: str) -> None:
    # A long name may be broken into lines.
    shown = re.sub(r"\s", "", "".join(_texts(one_element(drawn[2][name]))))
    assert re.sub(r"\s", "", fakes.HOSTILE) in shown


@pytest.mark.parametrize("name", FIGURES)
def test_the_same_results_give_the_same_picture(drawn: Any, tmp_path: Path, name: str) -> None:
    folder, results, drawings = drawn
    assert draw_figure(FIGURES[name], results, tmp_path) == drawings[name]
    assert (tmp_path / f"{name}.svg").read_bytes() == (folder / f"{name}.svg").read_bytes()


def test_maps_are_pooled_without_loss_and_some_of_many_heads_are_drawn(drawn: Any) -> None:
    data = MAPS.data(drawn[1])
    masses = data.select(pl.sum_horizontal(pl.selectors.starts_with("key_")))
    assert masses.to_series().to_list() == pytest.approx([1.0] * len(data), abs=1e-3)
    assert sorted(set(data["layer"])) == [0, 2, 4]
    assert sorted(set(data["head"])) == [0, 2, 3, 5]
    assert sorted(set(data["query"])) == list(range(0, 256, 8))


def test_a_run_without_maps_is_left_out_of_them(drawn: Any) -> None:
    results = drawn[1]
    assert MAPS.data(replace(results, folders={})).is_empty()


def test_damaged_arrays_are_told_and_left_out(tmp_path: Path, fakes: Any) -> None:
    study = fakes.FakeStudy(variants=[fakes.SOFTMAX], tasks=[fakes.LISTOPS], seeds=[0])
    folder = write(study, tmp_path)
    [path] = folder.glob("runs/*/arrays.npz")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.warns(UserWarning, match="arrays of listops.softmax.* are damaged and left out"):
        assert MAPS.data(load_results(folder)).is_empty()


def test_dots_are_heads_and_each_layer_has_a_line(drawn: Any) -> None:
    panel = SPARSITY.draw(drawn[1]).axes[0]
    dots = [line for line in panel.lines if line.get_marker() == "o"]
    marks = [line for line in panel.lines if line.get_marker() == "D"]
    assert [len(line.get_xdata()) for line in dots] == [HEADS * LAYERS] * 3
    assert [len(line.get_xdata()) for line in marks] == [LAYERS] * 3
    heights = [set(line.get_ydata()) for line in dots]
    assert [len(each) for each in heights] == [LAYERS] * 3
    assert max(heights[0]) < min(heights[1]) < max(heights[1]) < min(heights[2])
    ruled = [segment[0][1] for lines in panel.collections for segment in lines.get_segments()]
    assert ruled == sorted(set().union(*heights))


def test_spectra_are_of_layers_and_not_of_single_heads(drawn: Any) -> None:
    data = SPECTRUM.data(drawn[1])
    assert data.filter(position=25, phase="trained", label="softmax", task="listops").height == LAYERS
    panel = SPECTRUM.draw(drawn[1]).axes[0]
    assert len(panel.lines) == LAYERS + 2


def test_spectra_and_maps_are_read_by_pointer_and_keys(drawn: Any) -> None:
    spectrum, maps = (one_element(drawn[2][name]) for name in ("attention_spectrum", "attention_maps"))
    assert "trained, layer 2: the largest 10 % of the singular values hold 50.0 %" in spectrum
    assert "untrained, mean over layers: the largest 1 %" in spectrum
    # Two tasks, three variants, three layers, four heads, eight groups of queries.
    assert maps.count("most to keys") == 2 * 3 * 3 * 4 * 8
    # Attention that falls off on both sides of the query's own cell.
    assert "layer 1, head 1, queries 0 to 31: most to keys 8 to 15" in maps


def test_keys_of_a_memory_are_counted_backwards_from_the_first_token() -> None:
    assert _tokens(0, 0, 4, 64 + 64, n_memory=64) == "−64 to −33"
    assert _tokens(2, 3, 4, 64 + 64, n_memory=64) == "0 to 63"


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_of_many_variants_with_long_names_keeps_its_room(tmp_path: Path, fakes: Any, name: str) -> None:
    options = "pattern=fixed, stride=16, summary_width=2, residual=reversible, feed_forward_chunks=4, block_size=64"
    many = [fakes.SOFTMAX._replace(name=f"v{index}", label=f"v{index} ({options})") for index in range(12)]
    study = fakes.FakeStudy(variants=[fakes.SOFTMAX, *many], tasks=[fakes.LISTOPS], seeds=[0], measure=False)
    results = load_results(write(study, tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = FIGURES[name].draw(results)
        picture.draw_without_rendering()
    sizes = [axes.get_position().size * picture.get_size_inches() for axes in picture.axes if axes.axison]
    assert min(width for width, _ in sizes) > 1
    assert min(height for _, height in sizes if height > 0.3) > 0.75


def test_diagnostics_have_a_section_of_their_own(tmp_path: Path, fakes: Any) -> None:
    study = fakes.FakeStudy(variants=[fakes.SOFTMAX], tasks=[fakes.LISTOPS], seeds=[0])
    page = write_report(write(study, tmp_path), register_figures()).read_text()
    section = page.partition('<section id="diagnostics">')[2].partition("</section>")[0]
    assert f"<h2>{DIAGNOSTICS}</h2>" in section
    for figure in FIGURES.values():
        assert f"<h3>{figure.title}</h3>" in section


def test_where_none_was_measured_the_page_has_no_such_section(tmp_path: Path, fakes: Any) -> None:
    folder = fakes.FakeStudy(variants=[fakes.SOFTMAX], tasks=[fakes.LISTOPS], seeds=[0]).write(tmp_path)
    page = write_report(folder, register_figures()).read_text()
    assert DIAGNOSTICS not in page
    assert "No run measured" not in page
