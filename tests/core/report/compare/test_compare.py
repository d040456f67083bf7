from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from attention_arena.errors import ConfigError
from attention_arena.report.compare import Against, compare_sides, read_sides
from attention_arena.report.compare.columns import COLUMNS, MEANINGS
from attention_arena.report.compare.finding import Finding
from attention_arena.report.reading.results import load_results

FASTER = 1.5


def compared(first: Path, other: Path) -> Against:
    [against] = compare_sides(read_sides([first, other]))
    return against


def scores(against: Against) -> dict[tuple[str, str], Finding]:
    return {(each.task.partition(" ")[0], each.label): each for each in against.findings if each.kind == "score"}


def write(fakes: Any, results: Path, **changes: Any) -> Path:
    study = {"variants": [fakes.SOFTMAX, fakes.REFORMER], "examples": 600, "seeds": [0, 1, 2], **changes}
    return fakes.FakeStudy(**study).write(results)


def test_results_against_themselves_show_no_difference(tmp_path: Path, fakes: Any) -> None:
    folder = write(fakes, tmp_path, time_ratios={fakes.REFORMER.label: 1.3})
    against = compared(folder, folder)
    assert {each.verdict for each in against.findings} == {"no difference shown"}
    assert all(each.found.difference == 0 for each in scores(against).values() if each.found)
    assert against.summary == f"B against A: {len(against.findings)} no difference shown"
    assert not against.got_worse


def test_a_score_is_compared_on_the_same_examples_in_its_own_direction(tmp_path: Path, fakes: Any) -> None:
    better = fakes.SOFTMAX._replace(skill=fakes.SOFTMAX.skill + 0.15)
    worse = fakes.REFORMER._replace(skill=fakes.REFORMER.skill - 0.15)
    first, other = write(fakes, tmp_path / "a"), write(fakes, tmp_path / "b", variants=[better, worse])
    found = scores(compared(first, other))
    assert {key: each.verdict for key, each in found.items()} == {
        ("listops", "softmax"): "improved",
        ("listops", worse.label): "got worse",
        ("language_model", "softmax"): "improved",
        ("language_model", worse.label): "got worse",
    }
    for (task, label), each in found.items():
        means = [
            load_results(folder).runs.filter((pl.col("task") == task) & (pl.col("label") == label))["value"].mean()
            for folder in (first, other)
        ]
        assert (each.theirs, each.mine) == (pytest.approx(means[0]), pytest.approx(means[1]))
        assert each.found is not None
        assert each.found.difference == pytest.approx(means[1] - means[0])
        assert (each.found.n_seeds, each.reason) == (3, "")


def test_without_predictions_the_spread_of_both_sides_decides(tmp_path: Path, fakes: Any) -> None:
    first, other = write(fakes, tmp_path / "a", examples=0), write(fakes, tmp_path / "b", examples=0)
    for each in scores(compared(first, other)).values():
        assert each.found is not None
        assert each.found.low < 0 < each.found.high
        assert each.verdict == "no difference shown"
        assert each.reason.startswith("not paired: ")
        assert "predictions.npz is missing" in each.reason


def test_other_seeds_are_not_paired(tmp_path: Path, fakes: Any) -> None:
    found = scores(compared(write(fakes, tmp_path / "a"), write(fakes, tmp_path / "b", seeds=[7, 8])))
    assert {each.reason for each in found.values()} == {"not paired: no seed in common"}
    assert all(each.found is not None for each in found.values())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data_hash": "ee" * 32}, "scored on other data"),
        ({"task_version": 2}, "other versions of the task: 1 against 2"),
        ({"metric": "f1"}, "other metrics: accuracy against f1"),
    ],
    ids=["data", "task version", "metric"],
)
def test_what_is_not_the_same_question_is_not_compared(
    tmp_path: Path, fakes: Any, change: dict[str, Any], words: str
) -> None:
    first = write(fakes, tmp_path / "a", tasks=[fakes.LISTOPS])
    other = write(fakes, tmp_path / "b", tasks=[fakes.LISTOPS], changes=change)
    for each in scores(compared(first, other)).values():
        assert (each.verdict, each.reason, each.found) == ("not comparable", words, None)
        assert each.theirs is not None
        assert each.mine is not None


def test_a_run_that_fails_now_got_worse_and_one_that_failed_before_improved(tmp_path: Path, fakes: Any) -> None:
    verdicts = {
        (label, "listops", seed): verdict
        for seed in (0, 1, 2)
        for label, verdict in (
            ("softmax", ("oom", "killed\nat once")),
            (fakes.REFORMER.label, ("pending", None)),
        )
    }
    whole = write(fakes, tmp_path / "a", tasks=[fakes.LISTOPS])
    partial = write(fakes, tmp_path / "b", tasks=[fakes.LISTOPS], verdicts=verdicts)
    now, before = scores(compared(whole, partial)), scores(compared(partial, whole))
    softmax, reformer = ("listops", "softmax"), ("listops", fakes.REFORMER.label)
    assert (now[softmax].verdict, now[softmax].reason) == ("got worse", "oom now: killed")
    assert (before[softmax].verdict, before[softmax].reason) == ("improved", "oom before: killed")
    assert now[reformer].verdict == before[reformer].verdict == "not comparable"
    assert "pending" in now[reformer].reason
    assert compared(whole, partial).got_worse


def test_variants_and_tasks_of_one_side_are_named(tmp_path: Path, fakes: Any) -> None:
    first = write(fakes, tmp_path / "a")
    other = write(fakes, tmp_path / "b", variants=[fakes.SOFTMAX, fakes.TRANSFORMER_XL], tasks=[fakes.LISTOPS])
    found = scores(compared(first, other))
    assert {key: each.verdict for key, each in found.items()} == {
        ("listops", "softmax"): "no difference shown",
        ("listops", fakes.REFORMER.label): "only in the first",
        ("language_model", "softmax"): "only in the first",
        ("language_model", fakes.REFORMER.label): "only in the first",
        ("listops", fakes.TRANSFORMER_XL.label): "only in the other",
    }
    assert "3 only in A" in compared(first, other).summary


def test_profiles_are_matched_across_options_and_what_differs_is_told(tmp_path: Path, fakes: Any) -> None:
    short = fakes.LISTOPS._replace(options={"max_length": 200}, length=200)
    first = write(fakes, tmp_path, tasks=[fakes.LISTOPS])
    other = write(fakes, tmp_path, tasks=[short], profile="full", changes={"data_hash": "ee" * 32})
    for folder, steps in ((first, 400), (other, 5000)):
        for spec in folder.glob("runs/*/spec.json"):
            content = json.loads(spec.read_text()) | {"training": {"steps": steps}, "model": {"d_model": 64}}
            spec.write_text(json.dumps(content))
    against = compared(first, other)
    assert {each.reason for each in scores(against).values()} == {"scored on other data"}
    assert list(against.differing) == [
        "task_options.max_length: 2000 → 200 (2 of 2)",
        "training.steps: 400 → 5000 (2 of 2)",
    ]


def test_studies_are_matched_by_name_where_a_side_has_several(tmp_path: Path, fakes: Any) -> None:
    for side in ("a", "b"):
        for name in ("one", "two"):
            skill = 0.9 if (side, name) == ("b", "two") else 0.5
            write(
                fakes, tmp_path / side, name=name, variants=[fakes.SOFTMAX._replace(skill=skill)], tasks=[fakes.LISTOPS]
            )
    found = [each for each in compared(tmp_path / "a", tmp_path / "b").findings if each.kind == "score"]
    assert sorted(str(each.verdict) for each in found) == ["improved", "no difference shown"]


def test_changes_come_largest_first_and_before_them_what_failed(tmp_path: Path, fakes: Any) -> None:
    better = [fakes.SOFTMAX._replace(skill=0.75), fakes.REFORMER._replace(skill=0.95)]
    failed = {("softmax", "listops", seed): ("oom", "killed") for seed in (0, 1, 2)}
    first, other = write(fakes, tmp_path / "a"), write(fakes, tmp_path / "b", variants=better)
    improved = [each for each in compared(first, other).of("score") if each.verdict == "improved"]
    for task in ("listops", "language_model"):
        assert [each.label for each in improved if each.task.startswith(task)] == [fakes.REFORMER.label, "softmax"]
    worse = compared(other, write(fakes, tmp_path / "c", verdicts=failed)).of("score")
    assert (worse[0].label, worse[0].reason) == ("softmax", "oom now: killed")
    changes = [each.change for each in worse[1:] if each.verdict == "got worse"]
    assert len(changes) == 3
    assert changes == sorted(changes)


def test_a_side_that_scores_nothing_is_not_compared(tmp_path: Path, fakes: Any) -> None:
    first = write(fakes, tmp_path / "a", tasks=[fakes.LISTOPS])
    other = fakes.untrained(variants=[fakes.SOFTMAX, fakes.REFORMER]).write(tmp_path / "b")
    assert {(each.verdict, each.reason) for each in scores(compared(first, other)).values()} == {
        ("not comparable", "no score on one side")
    }


def test_the_frame_has_the_columns_that_are_documented(tmp_path: Path, fakes: Any) -> None:
    frame = compared(write(fakes, tmp_path / "a"), write(fakes, tmp_path / "b", variants=[fakes.SOFTMAX])).frame()
    assert dict(frame.schema) == dict(COLUMNS)
    assert set(COLUMNS) == set(MEANINGS)
    assert set(frame["kind"]) == {"score", "cost"}


def test_one_folder_and_a_folder_without_results_are_refused(tmp_path: Path, fakes: Any) -> None:
    folder = write(fakes, tmp_path / "a", variants=[fakes.SOFTMAX])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="2 to 26 folders of results, got 1"):
        read_sides([folder])
    with pytest.raises(ConfigError, match=r"no results in .*empty"):
        read_sides([folder, tmp_path / "empty"])
