from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from attention_arena.errors import ConfigError
from attention_arena.report.figures import Figure, register_figures
from attention_arena.report.figures.figure import MORE
from attention_arena.report.page.report import write_report

DRAWN = [figure for figure in register_figures() if figure.section == MORE]
VOID = {"meta", "br", "img", "link", "input", "hr", "wbr"}


class Reader(HTMLParser):
    """Collects what a browser would make of a page: its elements, their attributes and the text between."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(text)
        self.unbalanced += self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, key, value or "") for key, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["style"], ["script"]):
            self.text += data


def _page(path: Path) -> str:
    return write_report(path, register_figures()).read_text(encoding="utf-8")


@pytest.fixture
def page(mixed_report: Path) -> str:
    return mixed_report.read_text(encoding="utf-8")


def test_the_page_lies_beside_the_runs_with_its_figures_and_tables(mixed_report: Path) -> None:
    assert mixed_report.parts[-4:] == ("synthetic", "laptop", "report", "index.html")
    folder = mixed_report.parent.parent
    assert (folder / "results.csv").is_file()
    assert (folder / "runs").is_dir()
    for figure in DRAWN:
        for ending in ("svg", "pdf", "png", "csv"):
            assert (folder / "report" / "figures" / f"{figure.name}.{ending}").is_file()


def test_every_link_of_the_page_leads_to_a_file(mixed_report: Path) -> None:
    links = [value for tag, key, value in Reader(mixed_report.read_text()).attributes if tag == "a" and key == "href"]
    assert len(links) >= 3 * 4 + 6
    assert all((mixed_report.parent / link).is_file() for link in links if not link.startswith("#"))


def test_the_page_fetches_nothing(page: str) -> None:
    reader = Reader(page)
    assert {"img", "link", "iframe", "object"}.isdisjoint(reader.tags)
    for _tag, key, value in reader.attributes:
        assert not key.startswith("on")
        if key in ("src", "href", "data", "srcset"):
            assert not re.match(r"[a-z]+:|//", value)
    assert "@import" not in page
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))
    assert "http:" not in page
    assert "https:" not in page


def test_the_page_is_well_formed_and_its_names_are_unique(page: str) -> None:
    reader = Reader(page)
    assert reader.unbalanced == []
    names = [value for _, key, value in reader.attributes if key == "id"]
    assert len(names) == len(set(names))


def test_hostile_names_are_shown_as_text(page: str, fakes: Any) -> None:
    reader = Reader(page)
    assert fakes.HOSTILE in reader.text
    assert "ValueError: <img src=x onerror=alert(1)>" in reader.text
    assert html.escape("<script>") in page


def test_the_page_has_all_that_makes_a_number_worth_trusting(page: str, fakes: Any) -> None:
    text = " ".join(Reader(page).text.split())
    for expected in (
        f"Is <b>{' '.join(fakes.HOSTILE.split())}</b> best?",
        "8 of 12 runs have a score",
        "residual=reversible, feed_forward_chunks=4",
        "padding <i>",
        "0f" * 32,
        "Licence: CC0 1.0.",
        "Source: stand-in.",
        "Task version 1.",
        "AMD EPYC 7763 (cpu)",
        "2.13.0+cpu",
        "0123abc",
        "arena run studies/synthetic.yaml --profile laptop",
        "seeds: [0, 1]",
        "Vaswani et al. 2017",
        "n log n d",
        "not run yet",
        "cannot do causal attention",
        "at 2048 tokens: out of memory",
        "they are not scores of the official task",
    ):
        assert expected in text


def test_the_page_says_nothing_of_variants_that_take_no_part(page: str) -> None:
    text = Reader(page).text
    assert "no part of this study" not in text
    assert "Nobody, never" not in text


def test_every_figure_is_named_for_those_who_cannot_see_it(page: str) -> None:
    reader = Reader(page)
    labels = [value for _, key, value in reader.attributes if key == "aria-label"]
    plots = [value for _, key, value in reader.attributes if key == "role" and value == "img"]
    for figure in DRAWN:
        assert any(label.startswith(f"{figure.title}, ") for label in labels)
    assert len(plots) == sum(any(label.startswith(f"{figure.title}, ") for figure in DRAWN) for label in labels)


def test_what_a_panel_is_called_says_what_it_shows(page: str) -> None:
    labels = [value for _, key, value in Reader(page).attributes if key == "aria-label"]
    [curve] = [label for label in labels if label.startswith("Learning curves, language_model (stand-in), by step")]
    assert re.search(r"at the end: .*transformer_xl \(memory_length=64\) 2\.\d+", curve)


def test_a_damaged_record_is_told_on_the_page(mixed: Path) -> None:
    record = next(iter(sorted(mixed.glob("runs/*/record.json"))))
    record.write_text("{")
    with pytest.warns(UserWarning, match="damaged"):
        text = Reader(write_report(mixed, []).read_text()).text
    assert f"{record} is damaged and left out" in text
    assert "its record cannot be read" in text


def test_a_study_of_which_nothing_ran_has_a_page(tmp_path: Path, fakes: Any) -> None:
    pending = {
        (variant.label, task, seed): ("pending", None)
        for variant in (fakes.SOFTMAX, fakes.TRANSFORMER_XL, fakes.REFORMER)
        for task in ("listops", "language_model")
        for seed in (0, 1)
    }
    text = Reader(_page(fakes.FakeStudy(verdicts=pending).write(tmp_path))).text
    assert "None of the 12 runs has a score" in text
    assert "No run has both a score and a training speed yet." in text
    assert "No run has been started." in text


def test_a_study_without_runs_has_a_page(tmp_path: Path, fakes: Any) -> None:
    assert "The study has no runs." in Reader(_page(fakes.FakeStudy(variants=[]).write(tmp_path))).text


def test_a_study_with_one_seed_says_what_its_intervals_rest_on(tmp_path: Path, fakes: Any) -> None:
    text = Reader(_page(fakes.FakeStudy(seeds=[7]).write(tmp_path))).text
    assert "1 seed" in text
    assert "Of one seed it comes from test examples alone" in text
    assert "A score without an interval comes from one seed." in text


def test_a_study_without_scores_has_a_page(tmp_path: Path, fakes: Any) -> None:
    missing = ("metric", "unit", "value", "higher_is_better", "trivial_baseline", "trivial_baseline_name", "examples")
    task = fakes.LISTOPS._replace(trivial={})
    study = fakes.FakeStudy(tasks=[task], changes=dict.fromkeys(missing))
    text = Reader(_page(study.write(tmp_path))).text
    assert "no score" in text
    assert "None of the 6 runs has a score" in text


def test_a_page_of_200_runs_stays_under_5_megabytes(tmp_path: Path, fakes: Any) -> None:
    variants = [fakes.REFORMER._replace(label=f"reformer (n_hashes={index})", skill=index / 40) for index in range(20)]
    study = fakes.FakeStudy(variants=variants, seeds=range(5), curve_points=220)
    assert len(_page(study.write(tmp_path)).encode()) < 5_000_000


def test_several_studies_get_a_page_of_links(tmp_path: Path, fakes: Any) -> None:
    for name in ("one", "two"):
        fakes.FakeStudy(name=name, variants=[fakes.SOFTMAX], seeds=[0], measure=False).write(tmp_path)
    path = write_report(tmp_path, [])
    assert path == tmp_path / "report" / "index.html"
    links = [value for tag, key, value in Reader(path.read_text()).attributes if tag == "a" and key == "href"]
    studies = ["../one/laptop/report/index.html", "../two/laptop/report/index.html"]
    assert links == [*studies, "../results.csv", "../README.md"]
    assert all((path.parent / link).is_file() for link in links)


def test_a_report_beside_a_report_changes_nothing(mixed_report: Path) -> None:
    before = mixed_report.read_text()
    assert _page(mixed_report.parent.parent) == before


def test_a_folder_without_studies_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`arena run STUDY` writes it"):
        write_report(tmp_path, [])


def test_a_figure_of_another_plugin_is_shown_below_the_own(mixed: Path) -> None:
    def data(results: Any) -> pl.DataFrame:
        return pl.DataFrame({"x": [1.0, 2.0]})

    def draw(results: Any) -> Any:
        from matplotlib.figure import Figure as Picture

        picture = Picture()
        picture.subplots().plot([1.0, 2.0])
        return picture

    guest = Figure("guest", "A guest's figure", "It shows a line.", draw, data)
    text = Reader(write_report(mixed, [guest]).read_text()).text
    assert "A guest's figure" in text
    assert (mixed / "report" / "figures" / "guest.csv").read_text() == "x\n1.0\n2.0\n"
