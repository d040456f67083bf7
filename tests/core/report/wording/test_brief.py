"""What a study of many tasks says on its first screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attention_arena.report.derived.comparisons import compare_with_baseline
from attention_arena.report.derived.summary import summarise
from attention_arena.report.reading.results import load_results
from attention_arena.report.wording.words import answer_in_words, details_in_words

SEEDS = (0, 1, 2)


def _answer(study: Any, tmp_path: Path) -> str:
    results = load_results(study.write(tmp_path))
    return answer_in_words(summarise(results, compare_with_baseline(results)))


def _tasks(fakes: Any, n: int = 4, **changes: Any) -> list[Any]:
    return [fakes.LISTOPS._replace(name=f"task{index}", **changes) for index in range(n)]


def _variant(fakes: Any, name: str, skill: float, speed: float = 40_000) -> Any:
    return fakes.SOFTMAX._replace(name=name, label=f"{name} (size=1)", skill=skill, speed=speed)


def _study(fakes: Any, *variants: Any, **fields: Any) -> Any:
    return fakes.FakeStudy(
        variants=[fakes.SOFTMAX, *variants], **{"tasks": _tasks(fakes), "seeds": SEEDS, "examples": 1000, **fields}
    )


def test_who_keeps_the_baselines_quality_is_told_with_the_cost(tmp_path: Path, fakes: Any) -> None:
    near, far = _variant(fakes, "near", 0.55, 80_000), _variant(fakes, "far", 0.2, 20_000)
    answer = _answer(_study(fakes, near, far), tmp_path)
    assert answer.startswith("near is not shown worse than softmax on any of 4 tasks")
    assert "at 2.00× the throughput of softmax" in answer
    assert "far" not in answer


def test_where_all_are_worse_somewhere_the_least_worse_is_told(tmp_path: Path, fakes: Any) -> None:
    answer = _answer(_study(fakes, _variant(fakes, "far", 0.2)), tmp_path)
    assert answer.startswith("far is shown worse than softmax on the fewest tasks, 4 of 4")


def test_the_fastest_is_told_with_what_it_loses(tmp_path: Path, fakes: Any) -> None:
    near, fast = _variant(fakes, "near", 0.55), _variant(fakes, "fast", 0.2)
    study = _study(fakes, near, fast, time_ratios={near.label: 3.6, fast.label: 2.0})
    answer = _answer(study, tmp_path)
    assert "at 0.900× [0.857, 0.945] the training time of softmax at 4,096 tokens" in answer
    assert "fast trained fastest, at 0.500× [0.476, 0.525], and is shown worse on 4 of 4 tasks." in answer


def test_it_is_said_when_none_trained_faster(tmp_path: Path, fakes: Any) -> None:
    slow = _variant(fakes, "slow", 0.55, 10_000)
    assert "None trained faster than softmax." in _answer(_study(fakes, slow), tmp_path)


def test_tasks_on_which_nothing_beats_half_of_what_needs_no_model_are_named(tmp_path: Path, fakes: Any) -> None:
    silent = _tasks(fakes, 1, trivial={"majority class": 90.0, "one": 10.0, "two": 91.0})[0]._replace(name="silent")
    study = _study(fakes, _variant(fakes, "near", 0.55), tasks=[*_tasks(fakes, 3), silent])
    assert _answer(study, tmp_path).endswith(
        "On silent no variant is shown to beat even half of the scores that need no model: it says nothing of quality."
    )


@pytest.mark.parametrize("seeds", [(0,), SEEDS], ids=["one", "three"])
def test_one_seed_is_said_first(tmp_path: Path, fakes: Any, seeds: tuple[int, ...]) -> None:
    answer = _answer(_study(fakes, _variant(fakes, "near", 0.55), seeds=seeds), tmp_path)
    assert answer.startswith("With one seed, near is") is (len(seeds) == 1)


def test_several_that_keep_the_quality_are_told_with_their_costs(tmp_path: Path, fakes: Any) -> None:
    variants = [_variant(fakes, name, 0.55, speed) for name, speed in (("one", 20_000), ("two", 60_000))]
    answer = _answer(_study(fakes, *variants), tmp_path)
    assert answer.startswith(
        "two and one are not shown worse than softmax on any of 4 tasks, at 1.50× and 0.500× the throughput of softmax."
    )


def test_many_that_keep_the_quality_are_counted(tmp_path: Path, fakes: Any) -> None:
    variants = [_variant(fakes, f"v{index}", 0.55, 10_000 * (index + 1)) for index in range(5)]
    answer = _answer(_study(fakes, *variants), tmp_path)
    assert answer.startswith(
        "5 variants are not shown worse than softmax on any of 4 tasks; of these v4 takes the least"
    )


def test_without_comparisons_it_is_told_who_scores_best_where(tmp_path: Path, fakes: Any) -> None:
    study = fakes.FakeStudy(tasks=_tasks(fakes), seeds=[0])
    name = fakes.TRANSFORMER_XL.name
    expected = f"{name} scores best on 4 of 4 tasks; nothing was compared example by example."
    assert _answer(study, tmp_path) == expected


def test_seven_tasks_and_seven_variants_fit_three_lines_and_the_rest_stands_below(tmp_path: Path, fakes: Any) -> None:
    variants = [_variant(fakes, f"variant_{index}", 0.3 + 0.05 * index, 30_000 + 5_000 * index) for index in range(6)]
    results = load_results(_study(fakes, *variants, tasks=_tasks(fakes, 7), seeds=[0]).write(tmp_path))
    summaries = summarise(results, compare_with_baseline(results))
    assert len(answer_in_words(summaries)) < 480
    told = " ".join(details_in_words(summaries))
    assert all(variant.name in told for variant in variants)
