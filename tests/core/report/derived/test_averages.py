from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attention_arena.report.derived.averages import averages
from attention_arena.report.derived.summary import summarise
from attention_arena.report.reading.results import load_results
from attention_arena.report.rows.answer import answer_table

PUBLISHED = {"listops": 36.37, "text": 64.27, "retrieval": 57.46, "image": 42.44, "pathfinder": 71.40}
"""The Transformer's row of Tay et al. 2020, table 1."""


def _study(fakes: Any, scores: dict[str, float], source: str = "official", **changes: Any) -> Any:
    def score(value: float) -> Any:
        return lambda skill: value

    tasks = [
        fakes.LISTOPS._replace(name=name, source=source, trivial={"majority class": 10.0}, score=score(value))
        for name, value in scores.items()
    ]
    # A single variant, so that no seed's noise enters.
    return fakes.FakeStudy(**{"variants": [fakes.SOFTMAX], "tasks": tasks, "seeds": [0], **changes})


def _averages(study: Any, tmp_path: Path) -> Any:
    return averages(summarise(load_results(study.write(tmp_path))))


def test_both_definitions_give_the_published_averages(tmp_path: Path, fakes: Any) -> None:
    five, six = _averages(_study(fakes, {**PUBLISHED, "path_x": 5.0}), tmp_path)
    assert (five.name, six.name) == ("LRA average of 5", "LRA average of 6")
    assert round(five.scores["softmax"].value, 2) == 54.39
    # Path-X is at chance, below its trivial score, and counts as 50 whatever it says.
    assert round(six.scores["softmax"].value, 2) == 53.66
    assert "without Path-X" in five.definition
    assert "not learnt counts as 50 %" in six.definition


def test_a_path_x_that_is_learnt_counts_as_it_is(tmp_path: Path, fakes: Any) -> None:
    _, six = _averages(_study(fakes, {**PUBLISHED, "path_x": 88.1}), tmp_path)
    assert six.scores["softmax"].value == pytest.approx((sum(PUBLISHED.values()) + 88.1) / 6)


def test_an_average_is_as_sure_as_its_tasks_together(tmp_path: Path, fakes: Any) -> None:
    summaries = summarise(load_results(_study(fakes, PUBLISHED).write(tmp_path)))
    five, _ = averages(summaries)
    halves = [(cell.score.high - cell.score.low) / 2 for cell in summaries.cells.values() if cell.score]
    score = five.scores["softmax"]
    assert (score.high - score.low) / 2 == pytest.approx(sum(half**2 for half in halves) ** 0.5 / 5, rel=1e-3)


def test_a_missing_task_leaves_no_average_and_says_which(tmp_path: Path, fakes: Any) -> None:
    four = {name: value for name, value in PUBLISHED.items() if name != "image"}
    study = _study(fakes, four)
    five, six = _averages(study, tmp_path)
    assert five.missing == {"softmax": "image is not in the study"}
    table = answer_table(summarise(load_results(study.write(tmp_path))))
    cell = table.rows[0].cells[4]
    assert (cell.text, cell.note) == ("n/a", "image is not in the study")
    assert six.missing


def test_a_task_without_a_score_leaves_no_average(tmp_path: Path, fakes: Any) -> None:
    verdicts = {("softmax", "text", 0): ("oom", "killed")}
    five, _ = _averages(_study(fakes, PUBLISHED, verdicts=verdicts), tmp_path)
    assert five.missing == {"softmax": "no score on text (oom)"}


def test_another_metric_is_not_averaged(tmp_path: Path, fakes: Any) -> None:
    study = _study(fakes, PUBLISHED)
    study.tasks[0] = study.tasks[0]._replace(metric="loss", unit="nats", higher=False)
    five, _ = _averages(study, tmp_path)
    assert five.missing == {"softmax": "listops is measured in loss (nats), lower is better"}


def test_a_task_that_stands_twice_leaves_no_average(tmp_path: Path, fakes: Any) -> None:
    study = _study(fakes, PUBLISHED)
    study.tasks.append(study.tasks[1]._replace(options={"max_length": 9}))
    five, _ = _averages(study, tmp_path)
    assert five.missing == {"softmax": "text is in the study 2 times"}


@pytest.mark.parametrize(
    ("source", "name"),
    [("stand-in", "(of stand-ins)"), ("generated", "(generated)"), ("user", "(user data)")],
)
def test_an_average_of_other_data_is_not_called_lras(tmp_path: Path, fakes: Any, source: str, name: str) -> None:
    five, _ = _averages(_study(fakes, PUBLISHED, source), tmp_path)
    assert five.name == f"average of 5 {name}"
    assert "not the Long Range Arena's own data" in five.definition


def test_an_average_that_has_some_stand_ins_says_so(tmp_path: Path, fakes: Any) -> None:
    study = _study(fakes, PUBLISHED, "generated")
    study.tasks[1] = study.tasks[1]._replace(source="stand-in")
    five, _ = _averages(study, tmp_path)
    assert five.name == "average of 5 (some of stand-ins)"
    assert "text (stand-in)" in five.definition


def test_a_study_of_other_tasks_has_no_such_average(tmp_path: Path, fakes: Any) -> None:
    assert _averages(fakes.FakeStudy(seeds=[0]), tmp_path) == []
