"""The first screen of a report: question, answer, figure and the table of scores, and how it is found from there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from attention_arena.report.figures.tradeoff import TRADEOFF
from attention_arena.report.page.report import write_report
from tests.core.report.conftest import LANGUAGE_MODEL, LISTOPS, SOFTMAX, FakeStudy
from tests.end_to_end.browser import axe, chromium, opened, shown

pytestmark = pytest.mark.slow
OPTIONS = ("", "pattern=fixed, stride=16, summary_width=2", "rank=32", "window=32", "n_features=64", "memory=64", "n=2")
NAMES = ("softmax", "sparse", "linformer", "longformer", "performer", "transformer_xl", "reformer")
TASKS = ("listops", "text", "retrieval", "image", "pathfinder", "path_x")
LONGEST = "first operator and its own digits"
INSIDE = """
const screen = [innerWidth, innerHeight];
return [...document.querySelectorAll(arguments[0])].map((each) => {
  const box = each.getBoundingClientRect();
  return box.width > 0 && box.left >= 0 && box.top >= 0 && box.right <= screen[0] + 1 && box.bottom <= screen[1];
});
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven variants on seven tasks, compared example by example, on data that are not the official ones."""
    variants = [
        SOFTMAX._replace(
            name=name,
            label=f"{name} ({options})" if options else name,
            skill=0.5 + 0.02 * place,
            speed=30_000 * 1.2**place,
        )
        for place, (name, options) in enumerate(zip(NAMES, OPTIONS, strict=True))
    ]
    trivial = {"majority class": 10.0, "words, naive Bayes": 30.0, LONGEST: 44.0}
    tasks = [LISTOPS._replace(name=name, trivial=trivial, source="stand-in") for name in TASKS]
    study = FakeStudy(
        variants=variants,
        tasks=[*tasks, LANGUAGE_MODEL],
        seeds=[0],
        examples=400,
        time_ratios={variant.label: 4e4 / variant.speed for variant in variants[1:]},
    )
    return write_report(study.write(tmp_path_factory.mktemp("first")), [TRADEOFF])


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    with chromium() as driver:
        yield driver


def seen(driver: Any, page: Path, width: int, height: int) -> Any:
    """Open the page on a screen of this size."""
    opened(driver, page)
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    return driver


@pytest.mark.parametrize("size", [(1280, 800), (1440, 900)], ids=["1280", "1440"])
def test_the_first_screen_has_question_answer_figure_and_the_first_rows(
    driver: Any, page: Path, size: tuple[int, int]
) -> None:
    browser = seen(driver, page, *size)
    for part in ("h1", ".answer", ".warnings", "#quality_speed_memory .plot", "#answer thead th", "#answer h2"):
        inside = browser.execute_script(INSIDE, part)
        assert inside, part
        assert all(inside), part
    assert browser.execute_script(INSIDE, "#answer tbody:first-of-type tr")[:2] == [True, True]


def test_seven_tasks_with_averages_and_costs_fit_the_page(driver: Any, page: Path) -> None:
    browser = seen(driver, page, 1280, 800)
    box = "const box = document.querySelector('#answer .scroll'); return [box.scrollWidth, box.clientWidth]"
    needed, there = browser.execute_script(box)
    assert len(browser.find_elements("css selector", "#answer thead th")) == 16
    assert needed <= there


def test_what_is_not_shown_worse_than_the_best_is_underlined_explained_and_copied_as_such(
    driver: Any, page: Path
) -> None:
    browser = seen(driver, page, 1280, 800)
    assert browser.execute_script(INSIDE, "#answer .legend") == [True]
    line = "return getComputedStyle(document.querySelector('#answer td .near')).textDecorationLine"
    assert browser.execute_script(line) == "underline"
    n_marked = len(browser.find_elements("css selector", "#answer td .near"))
    browser.execute_script("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    for kind, pattern in (("Markdown", r"\| \*[^*]+\* "), ("LaTeX", r"\\underline\{[\d.]+")):
        browser.find_element("css selector", f"#answer .copy button[aria-label^='Copy as {kind}']").click()
        assert len(re.findall(pattern, browser.execute_script("return window.copied"))) == n_marked


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong_and_no_error_appears(driver: Any, page: Path, scheme: str) -> None:
    browser = seen(driver, page, 1280, 800)
    shown(browser, 1280, scheme)
    browser.find_element("css selector", ".contents summary").click()
    assert axe(browser, {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}) == []
    assert browser.get_log("browser") == []


def test_panels_of_many_tasks_stand_in_one_row_and_in_two_columns_on_a_phone(driver: Any, page: Path) -> None:
    tops = (
        "return new Set([...document.querySelectorAll('#quality_speed_memory .plot')]"
        ".map((each) => Math.round(each.getBoundingClientRect().bottom))).size"
    )
    assert seen(driver, page, 1280, 800).execute_script(tops) == 1
    shown(driver, 390)
    assert driver.execute_script(tops) == 4
    assert driver.execute_script("return document.documentElement.scrollWidth") == 390


def test_scores_that_need_no_model_stand_in_the_table_with_their_names(driver: Any, page: Path) -> None:
    browser = seen(driver, page, 1280, 800)
    rows = browser.find_elements("css selector", "#answer tbody.trivial tr")
    assert [row.text.splitlines()[0].split()[0] for row in rows] == ["weakest", "best"]
    assert LONGEST in " ".join(rows[1].text.split())


def test_buttons_name_variants_briefly_and_the_key_does_not_repeat_them(driver: Any, page: Path) -> None:
    browser = seen(driver, page, 1280, 800)
    chips = browser.find_elements("css selector", "[data-choose=variant]")
    assert [chip.text for chip in chips] == list(NAMES)
    assert chips[1].get_attribute("title") == f"sparse ({OPTIONS[1]})"
    key = "#quality_speed_memory .keys [data-variant]"
    assert not any(each.is_displayed() for each in browser.find_elements("css selector", key))
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert all(each.is_displayed() for each in browser.find_elements("css selector", key))


def test_the_contents_open_lead_on_and_close_by_the_keyboard(driver: Any, page: Path) -> None:
    browser = seen(driver, page, 1280, 800)
    summary = browser.find_element("css selector", ".contents summary")
    summary.send_keys("\ue007")
    links = browser.find_elements("css selector", ".contents a")
    assert "Scores and costs" in [link.text for link in links]
    links[0].send_keys("\ue00c")
    assert not links[0].is_displayed()
    assert browser.switch_to.active_element == summary
    summary.send_keys("\ue007")
    links[-1].send_keys("\ue007")
    assert not links[-1].is_displayed()
    assert browser.execute_script("return location.hash") == "#" + links[-1].get_attribute("href").partition("#")[2]


def test_a_line_of_a_score_without_a_model_is_read_after_the_variants(driver: Any, page: Path) -> None:
    plot = seen(driver, page, 1280, 800).find_element("css selector", "#quality_speed_memory .plot")
    told = []
    for _ in range(len(NAMES) + 1):
        plot.send_keys("\ue015")
        told.append(driver.find_element("css selector", "#tip").text)
    assert [any(text.startswith(name) for name in NAMES) for text in told] == [True] * len(NAMES) + [False]
    assert "which needs no model: " in told[-1]
