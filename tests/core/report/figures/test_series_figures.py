"""Figures of probes show each measured point once, beside what it is compared with, whichever plugin asks for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import polars as pl
import pytest

from attention_arena.catalogue import load_catalogue
from attention_arena.report.figures.diagnostics.attention_off import ATTENTION_OFF
from attention_arena.report.figures.diagnostics.receptive_field import RECEPTIVE_FIELD
from attention_arena.report.figures.figure import DIAGNOSTICS, Figure
from attention_arena.report.page.drawing import Drawing, draw_figure
from attention_arena.report.reading.results import Results, load_results
from tests.core.report.pictures import one_element

OWNED = ("lsh_recall", "lsh_balance", "kernel_error")
LAYERS = 3


def _row(measure: str, phase: str, value: float, unit: str, **fields: Any) -> dict[str, Any]:
    return {"measure": measure, "phase": phase, "value": value, "unit": unit, "samples": 4} | fields


def _field(width: int) -> list[dict[str, Any]]:
    ends = [0, 1, 2, 4, 8, 16, 31]
    shares = [min(1.0, (1 + end) / width) for end in ends]
    return [
        _row("receptive_field", phase, share, "share", position=end, low=share * 0.9, high=share)
        for phase in ("within", "at")
        for end, share in zip(ends, shares, strict=True)
    ]


def _off(loss: float) -> list[dict[str, Any]]:
    rows = [_row("attention_off_score", "intact", 60.0, "%")]
    for phase, layer in [("layer off", 0), ("layer off", 1), ("all off", None)]:
        rows.append(_row("attention_off_score", phase, 60.0 - loss, "%", layer=layer))
        rows.append(_row("attention_off", phase, -loss, "points", layer=layer, low=-2 * loss, high=0.0))
    return rows


def _hashing() -> list[dict[str, Any]]:
    rows = []
    for phase, factor in (("hashed", 1.0), ("random", 0.5)):
        for layer in range(LAYERS):
            for measure in ("lsh_mass_recall", "lsh_top_recall"):
                rows += [
                    _row(measure, phase, factor * (0.2 + 0.1 * layer) * n**0.5, "share", layer=layer, position=n)
                    for n in (1, 2, 4)
                ]
            for measure in ("lsh_entropy", "lsh_largest_bucket"):
                rows.append(_row(measure, phase, factor, "share", layer=layer, low=0.1, high=1.2))
    return rows


def _errors() -> list[dict[str, Any]]:
    rows = []
    for name in ("matrix", "variation", "output"):
        for layer in range(LAYERS):
            for phase, factor in (("orthogonal", 2.0), ("iid", 2.2)):
                rows += [
                    _row(
                        f"kernel_error_{name}",
                        phase,
                        (1 + layer) * factor / m**0.5,
                        "relative",
                        layer=layer,
                        position=m,
                    )
                    for m in (16, 64)
                ]
            rows.append(_row(f"kernel_error_{name}", "own directions", 0.5, "relative", layer=layer, position=32))
            rows.append(_row(f"kernel_error_{name}", "uniform weights", 0.7, "relative", layer=layer))
    return rows


@pytest.fixture(scope="module")
def figures() -> dict[str, Figure]:
    """The figures of core, and those that variants register."""
    registered = load_catalogue(kinds=["figure"]).figures
    return {figure.name: figure for figure in (RECEPTIVE_FIELD, ATTENTION_OFF)} | {
        name: registered[name] for name in OWNED
    }


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, fakes: Any) -> Results:
    """Of a study with a hostile name, whose second variant hashes and whose third has features."""
    hostile = fakes.REFORMER._replace(label=fakes.HOSTILE)
    study = fakes.FakeStudy(variants=(fakes.SOFTMAX, fakes.TRANSFORMER_XL, hostile))
    folder = study.write(tmp_path_factory.mktemp("study"))
    for task in study.tasks:
        for place, variant in enumerate(study.variants):
            path = folder / "runs" / study.run(variant, task, study.seeds[0]) / "record.json"
            file = json.loads(path.read_text())
            file["measurements"] = _field(8 * (1 + place)) + _off(1.0 + place)
            file["measurements"] += _hashing() if place == 1 else _errors() if place == 2 else []
            path.write_text(json.dumps(file))
    return load_results(folder)


@pytest.fixture(scope="module")
def drawn(
    results: Results, figures: dict[str, Figure], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Drawing]]:
    folder = tmp_path_factory.mktemp("figures")
    return folder, {name: draw_figure(figure, results, folder) for name, figure in figures.items()}


def _texts(svg: str) -> list[str]:
    return ["".join(each.itertext()).strip() for each in ElementTree.fromstring(svg).iter("text")]


@pytest.mark.parametrize("name", ["receptive_field", "attention_off", *OWNED])
def test_a_probe_leaves_a_picture_and_its_numbers(
    drawn: tuple[Path, dict[str, Drawing]], figures: dict[str, Figure], results: Results, name: str
) -> None:
    folder, drawings = drawn
    assert one_element(drawings[name]).startswith("<svg ")
    assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert len(pl.read_csv(folder / f"{name}.csv")) == len(figures[name].data(results)) > 0
    assert figures[name].section == DIAGNOSTICS


def test_hostile_names_are_shown_as_text(drawn: tuple[Path, dict[str, Drawing]], fakes: Any) -> None:
    for name in ("receptive_field", "attention_off", "kernel_error"):
        svg = one_element(drawn[1][name])
        assert "<script" not in svg
        assert fakes.HOSTILE in _texts(svg)


def test_a_point_is_the_mean_over_layers_and_reaches_from_the_lowest_to_the_highest(
    figures: dict[str, Figure], results: Results
) -> None:
    rows = figures["lsh_recall"].data(results)
    point = rows.filter(
        (pl.col("task") == "listops")
        & (pl.col("measure") == "lsh_mass_recall")
        & (pl.col("phase") == "hashed")
        & (pl.col("position") == 4)
    )
    [(value, low, high, n)] = point.select("value", "low", "high", "rows").rows()
    assert (value, low, high, n) == pytest.approx((0.6, 0.4, 0.8, 3))


def test_a_lone_row_keeps_its_interval(figures: dict[str, Figure], results: Results) -> None:
    rows = figures["receptive_field"].data(results)
    assert set(rows["phase"]) == {"within"}
    assert set(rows["rows"]) == {1}
    assert rows["low"].to_list() == pytest.approx((rows["value"] * 0.9).to_list())


def test_what_needs_no_features_is_one_level_line(figures: dict[str, Figure], results: Results) -> None:
    rows = figures["kernel_error"].data(results).filter(pl.col("phase") == "uniform weights")
    assert rows["position"].null_count() == len(rows) == 2 * 3
    assert set(rows["value"].round(6)) == {0.7}


def test_scores_stand_beside_their_differences(results: Results) -> None:
    rows = ATTENTION_OFF.data(results).filter((pl.col("task") == "listops") & (pl.col("label") == "softmax"))
    assert rows.select("off", "metric", "unit", "score", "difference", "low", "high").rows() == [
        ("0", "accuracy", "points", 59.0, -1.0, -2.0, 0.0),
        ("1", "accuracy", "points", 59.0, -1.0, -2.0, 0.0),
        ("all", "accuracy", "points", 59.0, -1.0, -2.0, 0.0),
    ]


def test_line_styles_are_named(drawn: tuple[Path, dict[str, Drawing]]) -> None:
    assert {"hashed", "random"} <= set(_texts(one_element(drawn[1]["lsh_recall"])))
    assert {"orthogonal", "iid", "own directions", "uniform weights"} <= set(
        _texts(one_element(drawn[1]["kernel_error"]))
    )
    assert "within" not in _texts(one_element(drawn[1]["receptive_field"]))


def test_where_nothing_was_probed_nothing_is_drawn(figures: dict[str, Figure], fakes: Any, tmp_path: Path) -> None:
    bare = load_results(fakes.FakeStudy(measure=False).write(tmp_path))
    for figure in figures.values():
        assert figure.data(bare).is_empty()
