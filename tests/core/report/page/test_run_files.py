"""What a page tells of single runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from attention_arena.report.page.run_files import (
    COLUMNS,
    LOG_LETTERS,
    LOG_LINES,
    MOST_POINTS,
    PER_FILE,
    embedded,
    run_lines,
    write_run_files,
)
from attention_arena.report.reading.results import load_results


def _read(path: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(path.read_text().removeprefix("arenaRuns(").removesuffix(");\n"))
    return told


def _files(folder: Path) -> dict[str, Any]:
    """Write the files of a study and read them as the page does: each run with what its file shares."""
    target = folder / "report" / "runs"
    write_run_files(load_results(folder), folder, target)
    found = {}
    for path in sorted(target.glob("*.js")):
        told = _read(path)
        for place, name in enumerate(told["columns"]["run"]):
            own = {key: values[place] for key, values in told["columns"].items() if values[place] is not None}
            curves = told["curves"][place]
            found[name] = {
                "record": told["shared"] | own,
                "spec": told["specs"][told["spec"][place]],
                "curves": [
                    (split, metric, list(zip(told["steps"][at], values, strict=True)))
                    for split, metric, at, values in curves
                ],
                "log": told["logs"][place],
            }
    return found


def test_what_runs_have_in_common_is_told_once(tmp_path: Path, fakes: Any) -> None:
    folder = fakes.FakeStudy(tasks=[fakes.LISTOPS], seeds=range(5)).write(tmp_path)
    assert len(_files(folder)) == 15
    told = _read(folder / "report" / "runs" / "0000.js")
    assert told["shared"]["task"] == "listops"
    assert not set(told["shared"]) & set(told["columns"])
    assert (len(told["specs"]), len(told["steps"])) == (1, 1)


def test_a_record_is_told_whole(tmp_path: Path, fakes: Any) -> None:
    folder = fakes.FakeStudy(verdicts={("softmax", "listops", 0): ("oom", "killed")}).write(tmp_path)
    told = _files(folder)
    for row in load_results(folder).runs.iter_rows(named=True):
        assert told[row["run"]]["record"] == {key: value for key, value in row.items() if value is not None}


def test_a_run_has_its_record_what_it_was_asked_its_curves_and_its_log(tmp_path: Path, fakes: Any) -> None:
    study = fakes.FakeStudy(tasks=[fakes.LISTOPS])
    folder = study.write(tmp_path)
    run = study.run(fakes.SOFTMAX, fakes.LISTOPS, 1)
    (folder / "runs" / run / "log.txt").write_text("</script> & é\n", encoding="utf-8")
    told = _files(folder)[run]
    assert (told["record"]["label"], told["record"]["seed"], told["record"]["status"]) == ("softmax", 1, "done")
    assert json.loads(told["spec"])["task_options"] == {"max_length": 2000}
    assert [(split, metric, len(points)) for split, metric, points in told["curves"]] == [
        ("validation", "accuracy", 12),
        ("train", "loss", 12),
    ]
    assert told["log"] == "</script> & é"


def test_a_run_that_never_began_has_a_file_too(tmp_path: Path, fakes: Any) -> None:
    study = fakes.FakeStudy(tasks=[fakes.LISTOPS], verdicts={("softmax", "listops", 0): ("pending", None)})
    told = _files(study.write(tmp_path))[study.run(fakes.SOFTMAX, fakes.LISTOPS, 0)]
    assert told["record"]["status"] == "pending"
    assert (told["curves"], told["log"]) == ([], "")


def test_of_a_log_the_end_is_kept(tmp_path: Path, fakes: Any) -> None:
    study = fakes.FakeStudy(variants=[fakes.SOFTMAX], tasks=[fakes.LISTOPS], seeds=[0])
    folder = study.write(tmp_path)
    [run] = (each.name for each in (folder / "runs").iterdir())
    (folder / "runs" / run / "log.txt").write_bytes(b"\xff" + b"line\n" * 5000 + b"last\n")
    log = _files(folder)[run]["log"]
    assert log.splitlines()[-1] == "last"
    assert len(log.splitlines()) <= LOG_LINES
    assert len(log) <= LOG_LETTERS


def test_a_long_curve_is_thinned_and_keeps_its_last_point(tmp_path: Path, fakes: Any) -> None:
    study = fakes.FakeStudy(variants=[fakes.SOFTMAX], tasks=[fakes.LISTOPS], seeds=[0], curve_points=451)
    [told] = _files(study.write(tmp_path)).values()
    for _, _, points in told["curves"]:
        assert len(points) <= MOST_POINTS
        assert points[-1][0] == 45_000
        assert points == sorted(points)


def test_many_runs_share_few_files_and_none_is_left_of_an_earlier_report(tmp_path: Path, fakes: Any) -> None:
    folder = fakes.FakeStudy(tasks=[fakes.LISTOPS], seeds=range(30), curve_points=2, measure=False).write(tmp_path)
    (folder / "report" / "runs").mkdir(parents=True)
    (folder / "report" / "runs" / "0999.js").write_text("old")
    assert len(_files(folder)) == 90
    names = sorted(path.name for path in (folder / "report" / "runs").iterdir())
    assert names == [f"{index:04}.js" for index in range(-(-90 // PER_FILE))]


def test_a_line_says_what_its_run_came_to(tmp_path: Path, fakes: Any) -> None:
    study = fakes.FakeStudy(tasks=[fakes.LISTOPS], verdicts={("softmax", "listops", 0): ("oom", "killed <b>")})
    results = load_results(study.write(tmp_path))
    lines = {line[0]: dict(zip(COLUMNS, line, strict=True)) for line in run_lines(results)}
    killed = lines[study.run(fakes.SOFTMAX, fakes.LISTOPS, 0)]
    assert (killed["status"], killed["score"], killed["reason"]) == ("oom", None, "killed <b>")
    done = lines[study.run(fakes.SOFTMAX, fakes.LISTOPS, 1)]
    [value] = results.runs.filter(run=done["run"])["value"]
    assert done["score"] == [f"{value:.2f} %", pytest.approx(value, rel=1e-8)]
    assert done["tokens per second"][0] == "40.4 k"


@pytest.mark.parametrize("text", ["</script><b>", "<!--", "a & b", "\u2028", "é Σ", '"\\'])
def test_data_inside_a_page_cannot_end_their_element(text: str) -> None:
    written = str(embedded({text: [text]}))
    assert not set("<>&\u2028") & set(written)
    assert json.loads(written) == {text: [text]}
