"""The report's page as a reader meets it: in a browser, from disk, without a network."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from attention_arena.report.figures.cost import TIME
from attention_arena.report.figures.learning import LEARNING
from attention_arena.report.figures.tradeoff import TRADEOFF
from attention_arena.report.page.report import write_report
from tests.core.report.conftest import HOSTILE, LANGUAGE_MODEL, LISTOPS, REFORMER, SOFTMAX, TRANSFORMER_XL, FakeStudy
from tests.end_to_end.browser import axe, chromium, opened, requests, shown

pytestmark = pytest.mark.slow
XL = TRANSFORMER_XL.label
WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
SCORES = "#answer table"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of three variants, one with a hostile name, on two tasks; a run failed, and one has a log."""
    study = FakeStudy(
        question=f"Is <b>{HOSTILE}</b> best?",
        variants=[SOFTMAX, TRANSFORMER_XL, REFORMER._replace(label=HOSTILE)],
        tasks=[LISTOPS, LANGUAGE_MODEL],
        verdicts={(HOSTILE, "listops", 1): ("failed", "ValueError: <img src=x onerror=alert(1)>")},
    )
    folder = study.write(tmp_path_factory.mktemp("browser"))
    (folder / "runs" / study.run(SOFTMAX, LISTOPS, 0) / "log.txt").write_text("</script><b>the last words</b>\n")
    return write_report(folder, [TRADEOFF, LEARNING, TIME])


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    with chromium() as driver:
        yield driver


@pytest.fixture
def browser(driver: Any, page: Path) -> Any:
    opened(driver, page)
    return driver


def texts(browser: Any, selector: str) -> list[str]:
    """Return the text of what is visible of a selection."""
    script = (
        "return [...document.querySelectorAll(arguments[0])].filter(e => e.getClientRects().length)"
        ".map(e => e.textContent)"
    )
    return [" ".join(text.split()) for text in browser.execute_script(script, selector)]


def count(browser: Any, selector: str) -> int:
    return len(texts(browser, selector))


def one(browser: Any, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def chip(browser: Any, value: str) -> Any:
    [found] = [
        each
        for each in browser.find_elements("css selector", "[data-choose]")
        if each.get_attribute("data-value") == value
    ]
    return found


def column(browser: Any, table: str, place: int) -> list[str]:
    """Return the numbers of a column, from top to bottom."""
    cells = texts(browser, f"{table} tbody:first-of-type tr > :nth-child({place})")
    return [re.match(r"[\d.]+", text)[0] for text in cells]  # type: ignore[index]


def test_no_request_leaves_the_page_and_no_error_appears(browser: Any) -> None:
    one(browser, "#run-table tbody button").click()
    asked = requests(browser)
    assert any(url.endswith("/runs/0000.js") for url in asked)
    assert [url for url in asked if not url.startswith(("file:", "data:", "about:"))] == []
    assert browser.get_log("browser") == []


def test_the_policy_forbids_what_the_page_does_not_need(browser: Any) -> None:
    script = "fetch(arguments[0]).then(() => arguments[1]('came'), () => arguments[1]('forbidden'))"
    assert browser.execute_async_script(script, "http://127.0.0.1:9/") == "forbidden"
    browser.execute_script(
        "const s = document.createElement('script'); s.text = 'window.ran = 1'; document.body.append(s)"
    )
    assert browser.execute_script("return window.ran") is None


def test_a_table_is_sorted_by_mouse_and_by_keyboard(browser: Any) -> None:
    heading = one(browser, f"{SCORES} thead th:nth-child(2) button")
    heading.click()
    scores = column(browser, SCORES, 2)
    assert scores == sorted(scores, key=float)
    assert one(browser, f"{SCORES} thead th:nth-child(2)").get_attribute("aria-sort") == "ascending"
    heading.send_keys("\ue007")
    assert column(browser, SCORES, 2) == scores[::-1]
    assert one(browser, f"{SCORES} thead th:nth-child(2)").get_attribute("aria-sort") == "descending"


def test_the_runs_are_filtered_by_what_one_types(browser: Any) -> None:
    assert count(browser, "#run-table tbody tr") == 12
    one(browser, "#run-table input").send_keys("FAILED")
    [row] = texts(browser, "#run-table tbody tr")
    assert "ValueError: <img src=x onerror=alert(1)>" in row


def test_a_hidden_variant_is_gone_from_every_figure_and_table_and_comes_back(browser: Any) -> None:
    everywhere = "main [data-variant], #run-table tbody tr"
    before = count(browser, everywhere)
    figures = ("quality_speed_memory", "learning_curves", "cost_by_length")
    marked = [f"#figure-{name} [data-variant='{XL}']" for name in figures]
    assert all(count(browser, each) >= 2 for each in marked)
    chip(browser, XL).click()
    assert [count(browser, each) for each in marked] == [0, 0, 0]
    assert not any(XL in text for text in texts(browser, "main tbody tr, main .keys li"))
    assert chip(browser, XL).get_attribute("aria-pressed") == "false"
    one(browser, "[data-all=variant]").click()
    assert count(browser, everywhere) == before


def test_all_variants_are_hidden_at_once_and_one_alone_comes_back(driver: Any, tmp_path: Path) -> None:
    variants = [SOFTMAX, *(REFORMER._replace(label=f"reformer {index}") for index in range(5))]
    study = FakeStudy(variants=variants, tasks=[LISTOPS], seeds=[0], measure=False, curve_points=2)
    opened(driver, write_report(study.write(tmp_path), [TRADEOFF]))
    one(driver, "[data-none=variant]").click()
    assert count(driver, f"{SCORES} tbody:first-of-type tr") == 0
    chip(driver, "reformer 3").click()
    assert [text.split(")")[0] for text in texts(driver, f"{SCORES} tbody:first-of-type th")] == ["reformer 3"]


def test_the_frontier_passes_through_what_is_shown(browser: Any) -> None:
    path = "#quality_speed_memory [data-role=frontier] path"
    chip(browser, "softmax").click()
    chip(browser, HOSTILE).click()
    # One variant is left, so the line has one point and no length.
    assert one(browser, path).get_attribute("d").count("L") == 0
    chip(browser, "softmax").click()
    assert one(browser, path).get_attribute("d").count("L") == 1


def test_a_hidden_task_leaves_panels_and_columns(browser: Any) -> None:
    assert count(browser, "#quality_speed_memory .panel") == 2
    chip(browser, "listops").click()
    assert count(browser, "#quality_speed_memory .panel") == 1
    assert not any("listops" in text for text in texts(browser, f"{SCORES} thead th"))
    assert not any("listops" in text for text in texts(browser, "#run-table tbody tr"))


def test_what_is_read_at_a_point_is_what_the_table_says(browser: Any) -> None:
    table = {text.split()[0]: text for text in texts(browser, f"{SCORES} tbody:first-of-type th")}
    scores = dict(zip(table, column(browser, SCORES, 2), strict=True))
    plot = one(browser, "#quality_speed_memory .plot")
    plot.send_keys("\ue015")
    seen = set()
    for _ in range(3):
        tip = " ".join(one(browser, "#tip").text.split())
        [name] = [name for name in scores if tip.startswith(name)]
        assert f"accuracy {scores[name]} " in tip
        seen.add(name)
        plot.send_keys("\ue015")
    assert seen == set(scores)
    plot.send_keys("\ue00c")
    assert not one(browser, "#tip").is_displayed()


def test_the_pointer_reads_the_point_under_it(browser: Any) -> None:
    from selenium.webdriver import ActionChains

    mark = f"#quality_speed_memory [data-variant='{XL}'][data-spots]"
    browser.execute_script("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", mark)
    ActionChains(browser).move_to_element(one(browser, mark)).perform()
    assert one(browser, "#tip strong").text == XL


def test_the_axes_of_costs_are_linear_if_one_wants(browser: Any) -> None:
    pictures = "#figure-cost_by_length .panels"
    assert count(browser, f"{pictures}[data-scale=log] .panel") == 4
    one(browser, "#figure-cost_by_length [data-show=linear]").click()
    assert count(browser, f"{pictures}[data-scale=log] .panel") == 0
    assert count(browser, f"{pictures}[data-scale=linear] .panel") == 4


def test_a_run_opens_with_its_curve_its_log_and_what_it_was_asked(browser: Any) -> None:
    one(browser, "#run-table tbody button").click()
    deadline = time.monotonic() + 10
    while not one(browser, "#run").is_displayed() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert one(browser, "#run-title").text.startswith("listops.softmax.")
    shown_text = one(browser, "#run-body").text
    assert "</script><b>the last words</b>" in shown_text
    assert '"max_length": 2000' in shown_text
    assert browser.execute_script("return document.querySelectorAll('#run polyline').length") == 2
    one(browser, "#run-close").click()
    assert not one(browser, "#run").is_displayed()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("Markdown", ["| variant | listops (generated)", r"\<script\>".replace("\\<", "&lt;").replace("\\>", "&gt;")]),
        ("LaTeX", [r"\begin{tabular}{lr", r"\toprule", r"\textless{}script\textgreater{}", r"\& \$x\$", r"$\pm$"]),
        ("CSV", ["variant,listops (generated) accuracy (%) ↑", '""q""']),
    ],
    ids=["markdown", "latex", "csv"],
)
def test_a_table_is_copied_with_every_name_as_text(browser: Any, kind: str, expected: list[str]) -> None:
    browser.execute_script("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    one(browser, f"#answer .copy button[aria-label^='Copy as {kind}']").click()
    copied = browser.execute_script("return window.copied")
    for each in expected:
        assert each in copied
    assert len(copied.strip().splitlines()) >= 5


def test_hostile_names_are_text_everywhere(browser: Any) -> None:
    assert HOSTILE in one(browser, "h1").get_attribute("textContent")
    assert any(
        HOSTILE in text
        for text in browser.execute_script(
            "return [...document.querySelectorAll('.keys li, tbody th, [data-choose]')].map(e => e.textContent)"
        )
    )
    assert browser.execute_script("return document.querySelectorAll('h1 b, main img, main b, body script').length") == 2


@pytest.mark.parametrize(
    ("width", "scheme", "rules"),
    [(1280, "light", WCAG), (1280, "dark", {"runOnly": ["color-contrast"]}), (390, "light", WCAG)],
    ids=["wide", "dark", "narrow"],
)
def test_axe_finds_nothing_wrong(browser: Any, width: int, scheme: str, rules: dict[str, Any]) -> None:
    shown(browser, width, scheme)
    assert axe(browser, rules) == []


def test_a_phone_shows_the_page_without_scrolling_sideways(browser: Any) -> None:
    shown(browser, 390)
    assert browser.execute_script("return document.documentElement.scrollWidth") == 390


def test_every_control_is_reached_by_the_keyboard_and_named(browser: Any) -> None:
    script = (
        "return [...document.querySelectorAll('button, a[href], input, [role=region], .plot')]"
        ".filter(e => e.getClientRects().length && (e.tabIndex < 0 || !(e.ariaLabel ?? e.textContent).trim()))"
        ".map(e => e.outerHTML)"
    )
    assert browser.execute_script(script) == []


FAILED = {(v.label, "listops", 0): ("failed", "ValueError: no <b>") for v in (SOFTMAX, TRANSFORMER_XL)}
SMALL = {
    "no-run": {"variants": []},
    "only-failures": {"variants": [SOFTMAX, TRANSFORMER_XL], "verdicts": FAILED},
    "one-run": {"variants": [SOFTMAX]},
}


@pytest.mark.parametrize("name", SMALL)
def test_a_study_with_little_in_it_has_a_page_without_faults(driver: Any, tmp_path: Path, name: str) -> None:
    study = FakeStudy(tasks=[LISTOPS], seeds=[0], **SMALL[name])
    opened(driver, write_report(study.write(tmp_path), [TRADEOFF, TIME]))
    assert axe(driver, WCAG) == []
    shown(driver, 390)
    assert driver.execute_script("return document.documentElement.scrollWidth") == 390
    assert driver.get_log("browser") == []
