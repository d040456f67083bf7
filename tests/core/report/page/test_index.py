from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from attention_arena.report.page.report import write_report
from attention_arena.report.reading.results import load_results
from tests.core.report.page.test_page import Reader


@pytest.fixture
def several(tmp_path: Path, fakes: Any) -> Path:
    """An old study, a new one, and one of which nothing has run."""
    for name, started in (("old", "2024-01-01T00:00:00+00:00"), ("new", "2025-06-01T09:30:00+00:00")):
        question = f"Is it [{name}] <b>?"
        study = fakes.untrained(name=name, question=question, changes={"started_at": started, "value": 50.0})
        study.write(tmp_path)
    pending = {(variant.label, "listops", 0): ("pending", None) for variant in fakes.FakeStudy().variants}
    fakes.untrained(name="idle", question="", verdicts=pending).write(tmp_path)
    return tmp_path


def test_studies_are_listed_newest_first_with_answer_runs_and_machine(several: Path) -> None:
    text = " ".join(Reader(write_report(several, []).read_text(encoding="utf-8")).text.split())
    places = [text.index(f"{name}, profile laptop") for name in ("new", "old", "idle")]
    assert places == sorted(places)
    assert "new, profile laptop · 3 of 3 runs done · AMD EPYC 7763 · latest run 2025-06-01 09:30:00 UTC" in text
    assert "idle, profile laptop · 0 of 3 runs done · 3 pending" in text


def test_the_list_in_markdown_says_the_same_and_links_to_every_page(several: Path) -> None:
    (several / "README.md").write_text("mine")
    write_report(several, [])
    lines = (several / "index.md").read_text(encoding="utf-8").splitlines()
    entries = [line for line in lines if line.startswith("- ")]
    assert [line.partition("](")[2].partition(")")[0] for line in entries] == [
        f"{name}/laptop/report/index.html" for name in ("new", "old", "idle")
    ]
    assert "Is it \\[new\\] &lt;b&gt;?" in entries[0]
    assert "- [idle](" in entries[2]
    assert (several / "README.md").read_text() == "mine"


def test_a_results_folder_with_one_study_has_an_index_and_a_studys_own_folder_none(tmp_path: Path, fakes: Any) -> None:
    folder = fakes.untrained(name="only").write(tmp_path)
    assert write_report(tmp_path, []) == tmp_path / "report" / "index.html"
    assert "only, profile laptop" in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    for path in (folder, folder.parent):
        assert write_report(path, []) == folder / "report" / "index.html"
    assert not (folder.parent / "report").exists()


def test_the_list_is_the_readme_of_a_folder_that_has_none_of_its_own(several: Path) -> None:
    write_report(several, [])
    first = (several / "README.md").read_text(encoding="utf-8")
    assert first.startswith("# Studies\n")
    assert not (several / "index.md").exists()
    shutil.rmtree(several / "idle")
    write_report(several, [])
    again = (several / "README.md").read_text(encoding="utf-8")
    assert again.count("\n- [") == first.count("\n- [") - 1 == 2
    page = (several / "report" / "index.html").read_text(encoding="utf-8")
    assert 'href="../README.md"' in page
    assert "script" not in page.partition("</head>")[0].lower()


def test_a_run_that_a_living_process_holds_is_running(tmp_path: Path, fakes: Any) -> None:
    pending = {("softmax", "listops", seed): ("pending", None) for seed in (0, 1)}
    folder = fakes.FakeStudy(tasks=[fakes.LISTOPS], verdicts=pending).write(tmp_path)
    run = sorted(folder.glob("runs/*softmax*"))[0]
    with FileLock(run / "claim.lock"):
        runs = load_results(folder).runs
        page = " ".join(Reader(write_report(folder, []).read_text(encoding="utf-8")).text.split())
    assert dict(runs.group_by("status").len().iter_rows()) == {"done": 4, "running": 1, "pending": 1}
    assert "4 of 6 runs done · 1 running · 1 pending" in page
    assert "Still running: written at 20" in page


def test_a_study_at_rest_has_no_time_of_writing(tmp_path: Path, fakes: Any) -> None:
    pending = {("softmax", "listops", seed): ("pending", None) for seed in (0, 1)}
    folder = fakes.FakeStudy(tasks=[fakes.LISTOPS], verdicts=pending).write(tmp_path)
    (sorted(folder.glob("runs/*softmax*"))[0] / "claim.lock").touch()
    page = write_report(folder, []).read_text(encoding="utf-8")
    assert "4 of 6 runs done · 2 pending" in page
    assert "Still running" not in page
