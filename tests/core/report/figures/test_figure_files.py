"""What a figure's files are: of a paper's width, with whole fonts, the same each time, laid out once for all."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
from matplotlib.layout_engine import ConstrainedLayoutEngine

from attention_arena.report.figures import register_figures
from attention_arena.report.figures.cost import TIME
from attention_arena.report.figures.learning import LEARNING
from attention_arena.report.figures.tradeoff import TRADEOFF
from attention_arena.report.page.drawing import ENDINGS, draw_figure
from attention_arena.report.reading.results import Results, load_results
from tests.core.report.cost_results import Costly, cost_results

COLUMN, PAGE = 3.3, 6.6
"""Inches: a column of a two-column paper, and its page."""


@pytest.fixture(scope="module")
def results(fakes: Any, tmp_path_factory: pytest.TempPathFactory) -> Results:
    study = fakes.FakeStudy(time_ratios={"reformer (n_hashes=4)": 0.8}, perplexity=True)
    return load_results(study.write(tmp_path_factory.mktemp("figures")))


@pytest.fixture(scope="module")
def files(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for figure in register_figures():
        draw_figure(figure, results, folder)
    return folder


def test_every_figure_is_as_wide_as_a_column_or_a_page(files: Path) -> None:
    widths = {}
    for path in files.glob("*.pdf"):
        box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ", path.read_bytes())
        assert box is not None
        widths[path.stem] = round(float(box[1]) / 72, 2)
    assert len(widths) >= 8
    assert {name: width for name, width in widths.items() if width not in (COLUMN, PAGE)} == {}


def test_a_pdf_has_its_fonts_whole_and_no_date(files: Path) -> None:
    for path in files.glob("*.pdf"):
        content = path.read_bytes()
        assert b"/FontFile2" in content, path
        assert b"/Type3" not in content, path
        assert b"CreationDate" not in content, path


def test_drawing_twice_gives_the_same_bytes(results: Results, files: Path, tmp_path: Path) -> None:
    draw_figure(TRADEOFF, results, tmp_path)
    for ending in ENDINGS:
        name = f"{TRADEOFF.name}.{ending}"
        assert (tmp_path / name).read_bytes() == (files / name).read_bytes(), name


def test_a_figure_is_laid_out_once_for_all_its_files(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executed = []
    lay_out = ConstrainedLayoutEngine.execute

    def counted(self: ConstrainedLayoutEngine, picture: Any) -> Any:
        executed.append(picture)
        return lay_out(self, picture)

    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", counted)
    draw_figure(LEARNING, results, tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {f".{ending}" for ending in ENDINGS}
    assert len(executed) == 1


def test_a_figure_of_very_many_variants_keeps_its_panels() -> None:
    def cost(n: int) -> float:
        return float(n)

    many = [Costly(f"v{place}", cost, stops={16384: "oom"}, claim=(1, 1)) for place in range(60)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = TIME.draw(cost_results(many))
        picture.draw_without_rendering()
    panel = picture.axes[0].get_position()
    assert panel.width * picture.get_figwidth() > COLUMN / 2
    assert panel.height * picture.get_figheight() > 1.5
