from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import binomtest

from attention_arena.report.derived.against_best import COLUMNS, compare_with_best
from attention_arena.report.reading.predictions import read_predictions
from attention_arena.report.reading.results import load_results

N = 200


def _answers(first: int, last: int) -> Any:
    """Return N answers of which `first` to `last` are right."""
    return (np.arange(N) >= first) & (np.arange(N) < last)


def _study(tmp_path: Path, fakes: Any, answers: Mapping[str, Sequence[Any]]) -> Path:
    """Write a study of one task whose runs gave these answers, by variant and seed; an empty one is no answer."""
    variants = [fakes.SOFTMAX._replace(name=name, label=name) for name in answers]
    n_seeds = max(map(len, answers.values()))
    verdicts = {
        (name, "listops", seed): ("oom", "killed")
        for name, given in answers.items()
        for seed in range(len(given), n_seeds)
    }
    study = fakes.FakeStudy(
        variants=variants, tasks=[fakes.LISTOPS], seeds=range(n_seeds), verdicts=verdicts, measure=False
    )
    folder: Path = study.write(tmp_path)
    for variant in variants:
        for seed, right in enumerate(answers[variant.name]):
            _answer(folder / "runs" / study.run(variant, fakes.LISTOPS, seed), right)
    return folder


def _answer(run: Path, right: Any) -> None:
    np.savez_compressed(run / "predictions.npz", best_correct=right, best_target=np.zeros(N, int))
    content = json.loads((run / "record.json").read_text())
    content["record"] |= {"value": 100 * float(right.mean()), "examples": N}
    (run / "record.json").write_text(json.dumps(content))


def _compared(folder: Path) -> dict[str, dict[str, Any]]:
    frame = compare_with_best(load_results(folder))
    assert dict(frame.schema) == dict(COLUMNS)
    return {row["label"]: row for row in frame.to_dicts()}


def test_behind_a_clear_winner_all_are_worse(tmp_path: Path, fakes: Any) -> None:
    answers = {"softmax": [_answers(0, 100)], "winner": [_answers(0, 160)], "other": [_answers(0, 90)]}
    rows = _compared(_study(tmp_path, fakes, answers))
    assert {label: (row["best"], row["verdict"]) for label, row in rows.items()} == {
        "softmax": ("winner", "worse"),
        "other": ("winner", "worse"),
    }
    assert rows["softmax"]["difference"] == pytest.approx(-30)


def test_one_seed_has_mcnemars_p_on_one_side_for_each_that_could_be_on_top(tmp_path: Path, fakes: Any) -> None:
    # Of the examples that one of the two alone got right, "near" got 2 and "winner" 10.
    answers = {"softmax": [_answers(0, 10)], "winner": [_answers(10, 120)], "near": [_answers(8, 110)]}
    row = _compared(_study(tmp_path, fakes, answers))["near"]
    one_sided = binomtest(2, 12, 0.5, alternative="less").pvalue
    assert (row["p"], row["p_adjusted"]) == pytest.approx((one_sided, 2 * one_sided))
    assert (row["n_seeds"], row["verdict"]) == (1, "worse")
    assert row["reason"].startswith("for this seed")


def test_two_that_are_alike_are_told_from_a_third_over_seeds(tmp_path: Path, fakes: Any) -> None:
    answers = {
        "softmax": [_answers(0, 150), _answers(0, 152), _answers(0, 151)],
        "alike": [_answers(2, 152), _answers(2, 151), _answers(1, 153)],
        "behind": [_answers(0, 60), _answers(0, 61), _answers(0, 62)],
    }
    rows = _compared(_study(tmp_path, fakes, answers))
    assert {label: row["verdict"] for label, row in rows.items()} == {"alike": "not shown worse", "behind": "worse"}
    assert {row["best"] for row in rows.values()} == {"softmax"}
    assert rows["alike"]["n_seeds"] == 3


def test_of_two_with_the_best_score_the_first_is_compared_with(tmp_path: Path, fakes: Any) -> None:
    answers = {"softmax": [_answers(0, 50)], "first": [_answers(0, 100)], "second": [_answers(100, 200)]}
    rows = _compared(_study(tmp_path, fakes, answers))
    assert {row["best"] for row in rows.values()} == {"first"}
    assert (rows["second"]["difference"], rows["second"]["verdict"]) == (0, "not shown worse")


def test_one_that_leads_where_both_have_a_score_is_not_shown_worse(tmp_path: Path, fakes: Any) -> None:
    # The seed that "partial" lacks makes the mean of "winner" the better one.
    answers = {"softmax": [_answers(0, 5)] * 2, "winner": [_answers(0, 100), _answers(0, 200)]}
    rows = _compared(_study(tmp_path, fakes, answers | {"partial": [_answers(0, 140)]}))
    assert rows["partial"]["difference"] == pytest.approx(20)
    assert rows["partial"]["p"] > 0.99
    assert rows["partial"]["verdict"] == "not shown worse"
    assert rows["partial"]["reason"].startswith("over 1 of 2 seeds")


def test_a_variant_without_a_score_could_not_be_on_top(tmp_path: Path, fakes: Any) -> None:
    answers = {"softmax": [_answers(0, 100)], "winner": [_answers(0, 110)], "failed": []}
    rows = _compared(_study(tmp_path, fakes, answers))
    assert rows["softmax"]["p_adjusted"] == rows["softmax"]["p"]
    assert (rows["failed"]["verdict"], rows["failed"]["reason"]) == (None, "it has no score here")


def test_without_predictions_nothing_is_told(tmp_path: Path, fakes: Any) -> None:
    frame = compare_with_best(load_results(fakes.FakeStudy(seeds=[0]).write(tmp_path)))
    assert frame["verdict"].to_list() == [None] * 4
    assert all("predictions.npz is missing" in reason for reason in frame["reason"])


def test_where_lower_is_better_the_least_is_the_best(tmp_path: Path, fakes: Any) -> None:
    folder = fakes.FakeStudy(tasks=[fakes.LANGUAGE_MODEL], seeds=[0, 1, 2], examples=400).write(tmp_path)
    rows = _compared(folder)
    assert {row["best"] for row in rows.values()} == {fakes.TRANSFORMER_XL.label}
    assert all(row["difference"] > 0 and row["verdict"] == "worse" for row in rows.values())


def test_each_study_of_a_folder_has_its_rows_and_each_is_compared_once(
    tmp_path: Path, fakes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        fakes.FakeStudy(name=name, seeds=[0], examples=50).write(tmp_path)
    read: list[Path] = []

    def counted(run: Path) -> dict[str, Any]:
        read.append(run)
        return read_predictions(run)

    monkeypatch.setattr("attention_arena.report.derived.pairing.read_predictions", counted)
    results = load_results(tmp_path)
    frame = compare_with_best(results)
    assert frame["study"].to_list() == ["one"] * 4 + ["two"] * 4
    for study in results.studies:
        part = compare_with_best(results.of(study))
        assert part.equals(frame.filter(pl.col("study") == study.study))
    assert sorted(read) == sorted(tmp_path.glob("*/*/runs/*"))
