"""The section on language models says what was measured, and is absent where nothing was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest

from attention_arena.report.derived.language_models import by_protocol, effective_contexts
from attention_arena.report.derived.relative_context import relative_context_lengths, relative_contexts
from attention_arena.report.figures import register_figures
from attention_arena.report.figures.perplexity import SECTION, curves
from attention_arena.report.page.drawing import draw_figure
from attention_arena.report.page.report import write_report
from attention_arena.report.reading.results import Results, load_results
from attention_arena.report.rows.language_model_tables import language_models
from tests.core.report.pictures import one_element

TASK = "language_model"
FIGURES = {figure.name: figure for figure in register_figures() if figure.section == SECTION}
MODELS = {
    "long": {1: np.array([4.0, 1.0, 3.0]), 2: np.array([3.0, 1.0, 3.0])},
    "short": {1: np.array([3.5, 0.5, 3.5])},
}


@pytest.fixture
def folder(fakes: Any, tmp_path: Path) -> Path:
    study: Path = fakes.FakeStudy(perplexity=True).write(tmp_path)
    return study


@pytest.fixture
def results(folder: Path) -> Results:
    return load_results(folder)


def test_a_protocols_score_stands_beside_its_time(results: Results) -> None:
    rows = by_protocol(results).filter(label="softmax", protocol="sliding, stride 128").to_dicts()
    assert len(rows) == 1
    [row] = rows
    assert (row["task"], row["metric"], row["tokens"], row["batch_size"]) == (TASK, "bits_per_byte", 65_536, 16)
    assert row["value"] == pytest.approx(3.4 - 2 * 0.55 + 0.03)
    assert row["ms_per_token"] == pytest.approx(0.04)


def test_a_protocol_that_a_variant_cannot_do_has_no_row(results: Results) -> None:
    found = dict(by_protocol(results).group_by("label").agg(pl.col("protocol")).iter_rows())
    assert "cached" not in found["softmax"]
    assert "cached" in found["transformer_xl (memory_length=64)"]


def test_scores_of_the_run_itself_are_no_protocol(results: Results) -> None:
    assert set(by_protocol(results)["protocol"]) == {"chunks", "sliding, stride 128", "cached"}


def test_a_context_is_the_middle_of_its_bin(results: Results) -> None:
    found = curves(results).filter(measure="loss_by_position", label="softmax").sort("context")
    starts = [1, 2, 3, 4, 8, 16, 32, 128, 512]
    stops = [*(start - 1 for start in starts[1:]), 512]
    expected = [(start * stop) ** 0.5 for start, stop in zip(starts, stops, strict=True)]
    assert found["context"].to_list() == pytest.approx(expected)


def test_losses_by_context_stand_at_the_context(results: Results) -> None:
    found = curves(results).filter(measure="loss_by_context", label="softmax")
    assert found["context"].to_list() == [2.0**k for k in range(10)]


def test_what_is_at_least_so_long_says_so(results: Results) -> None:
    section = language_models(results)
    assert section is not None
    shown = {row["label"]: (row["tokens"], row["interval"]) for row in section.contexts}
    assert shown["softmax"] == ("64", "[62, 128]")
    assert shown["transformer_xl (memory_length=64)"] == ("≥ 2,048", "[1,987, beyond]")
    assert len(effective_contexts(results)) == 3


def test_the_page_has_the_section_with_its_figures(folder: Path) -> None:
    page = write_report(folder, register_figures()).read_text(encoding="utf-8")
    section = page.partition('<section id="language-models">')[2].partition("</section>")[0]
    for text in ("sliding, stride 128", "65,536", "Effective context", "RECL"):
        assert text in section
    assert section.count("<figure") == 2
    assert (folder / "report" / "figures" / "perplexity_by_position.csv").exists()


@pytest.mark.parametrize("name", FIGURES)
def test_a_picture_shows_hostile_names_as_text(fakes: Any, tmp_path: Path, name: str) -> None:
    variants = (fakes.SOFTMAX, fakes.REFORMER._replace(label=fakes.HOSTILE))
    results = load_results(fakes.FakeStudy(variants=variants, perplexity=True).write(tmp_path))
    drawing = draw_figure(FIGURES[name], results, tmp_path / "figures")
    assert not drawing.nothing
    assert "<script" not in one_element(drawing)
    texts = ["".join(each.itertext()).strip() for each in ElementTree.fromstring(one_element(drawing)).iter("text")]
    assert fakes.HOSTILE in texts
    assert len(pl.read_csv(tmp_path / "figures" / f"{name}.csv")) == len(FIGURES[name].data(results)) > 0


def test_the_page_does_without_the_figures(folder: Path) -> None:
    page = write_report(folder, []).read_text(encoding="utf-8")
    assert '<section id="language-models">' in page


def test_a_study_that_measured_none_of_it_has_no_section(fakes: Any, tmp_path: Path) -> None:
    folder = fakes.FakeStudy().write(tmp_path)
    assert language_models(load_results(folder)) is None
    assert "language-models" not in write_report(folder, register_figures()).read_text(encoding="utf-8")


class TestRelativeContext:
    """By hand: three tokens, contexts 1 and 2, two models."""

    def test_a_gain_counts_against_the_best_of_the_group(self) -> None:
        # The best at 1 is (3.5, 0.5, 3); given 2, "long" lowers it to (3, 0.5, 3), by 0.5 nats of one token in three.
        assert relative_context_lengths(MODELS, 1.0) == {"long": (2, True), "short": (1, False)}

    def test_only_the_hardest_tokens_count(self) -> None:
        models = {**MODELS, "easy": {1: np.array([9.0, 9.0, 2.0]), 2: np.array([9.0, 9.0, 0.1])}}
        # The hardest third is the first token, on which "easy" never beats the best.
        assert relative_context_lengths(models, 0.34)["easy"] == (1, False)
        assert relative_context_lengths(models, 1.0)["easy"] == (2, True)

    def test_a_gain_below_one_per_cent_ends_it(self) -> None:
        losses = {1: np.full(10, 2.0), 2: np.full(10, 1.985), 4: np.full(10, 1.98), 8: np.full(10, 1.0)}
        assert relative_context_lengths({"one": losses, "same": losses}, 1.0)["one"] == (2, False)

    def test_a_token_that_gets_worse_takes_nothing_from_those_that_gain(self) -> None:
        losses = {1: np.array([2.0, 2.0]), 2: np.array([1.0, 9.0])}
        assert relative_context_lengths({"one": losses, "same": losses}, 1.0)["one"] == (2, True)

    def test_it_is_read_from_the_arrays_of_the_runs(self, folder: Path) -> None:
        self._save(folder, "softmax", [1, 2], [[2.0, 2.0], [1.0, 1.0]], [5, 9])
        self._save(folder, "transformer_xl", [1, 2, 4], [[2.0, 2.0], [1.5, 1.5], [0.5, 0.5]], [5, 9])
        self._save(folder, "reformer", [1, 2], [[2.0, 2.0], [1.0, 1.0]], [5, 8])
        found = {row["label"]: row for row in relative_contexts(load_results(folder)).iter_rows(named=True)}
        assert {label: row["tokens"] for label, row in found.items()} == {
            "softmax": 2,
            "transformer_xl (memory_length=64)": 4,
        }
        assert {(row["models"], row["targets"]) for row in found.values()} == {(2, 2)}

    def test_a_lone_model_is_compared_with_none(self, folder: Path) -> None:
        self._save(folder, "softmax", [1, 2], [[2.0], [1.0]], [5])
        assert relative_contexts(load_results(folder)).is_empty()

    @staticmethod
    def _save(folder: Path, variant: str, lengths: list[int], losses: list[list[float]], targets: list[int]) -> None:
        for run in folder.glob(f"runs/{TASK}.{variant}.*"):
            if json.loads((run / "record.json").read_text())["measurements"]:
                np.savez(
                    run / "arrays.npz",
                    **{
                        "context_lengths.key": np.array(lengths),
                        "context_losses.key": np.array(losses, dtype=np.float32),
                        "context_targets.key": np.array(targets),
                    },
                )
