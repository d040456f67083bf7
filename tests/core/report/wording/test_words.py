from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attention_arena.report.derived.comparisons import compare_with_baseline
from attention_arena.report.derived.summaries import Summaries
from attention_arena.report.derived.summary import summarise
from attention_arena.report.reading.results import load_results
from attention_arena.report.wording.words import answer_in_words, details_in_words


def _details(study: Any, tmp_path: Path) -> str:
    results = load_results(study.write(tmp_path))
    return " ".join(details_in_words(summarise(results, compare_with_baseline(results))))


def _words(study: Any, tmp_path: Path) -> str:
    results = load_results(study.write(tmp_path))
    return answer_in_words(summarise(results, compare_with_baseline(results)))


def test_the_words_name_the_best_its_score_its_verdict_and_its_speed(tmp_path: Path, fakes: Any) -> None:
    words = _words(fakes.FakeStudy(seeds=range(5), examples=2000), tmp_path)
    label = fakes.TRANSFORMER_XL.name
    assert words.startswith(f"On listops (generated), {label} scores best: accuracy ")
    assert "better than softmax, at 0.775× the training throughput of softmax" in words
    assert f"On language_model (stand-in), {label} scores best: bits per byte 2.1" in words
    assert "runs have a score" not in words


def test_time_by_turns_is_preferred_to_throughput_of_separate_runs(tmp_path: Path, fakes: Any) -> None:
    words = _words(fakes.FakeStudy(tasks=[fakes.LISTOPS], time_ratios={fakes.TRANSFORMER_XL.label: 2.0}), tmp_path)
    assert "at 0.500× [0.476, 0.525] the training time of softmax at 4,096 tokens" in words
    assert "throughput" not in words


@pytest.mark.parametrize(("seeds", "scope"), [([0], " for this seed"), ([0, 1, 2], "")])
def test_the_words_say_where_no_difference_is_shown(tmp_path: Path, fakes: Any, seeds: list[int], scope: str) -> None:
    near = fakes.SOFTMAX._replace(name="near", label="near", skill=fakes.SOFTMAX.skill + 0.02)
    words = _words(
        fakes.FakeStudy(variants=[fakes.SOFTMAX, near], tasks=[fakes.LISTOPS], seeds=seeds, examples=400), tmp_path
    )
    told = [f"no difference from softmax shown{scope},", "no other one is shown to be worse"]
    assert sum(each in words for each in told) == 1


def test_a_leading_baseline_is_told_with_those_it_beats(tmp_path: Path, fakes: Any) -> None:
    far = fakes.SOFTMAX._replace(name="far", label="far", skill=0.2)
    study = fakes.FakeStudy(variants=[fakes.SOFTMAX, far], tasks=[fakes.LISTOPS], seeds=[0, 1, 2], examples=1000)
    assert "and it is the baseline; far is shown to be worse" in _words(study, tmp_path)


def test_the_words_say_when_the_best_is_not_shown_to_beat_no_model(tmp_path: Path, fakes: Any) -> None:
    study = fakes.FakeStudy(tasks=[fakes.LISTOPS], seeds=[0], changes={"value": 15.0})
    assert "— not shown to beat “majority class”, which needs no model" in _words(study, tmp_path)


def test_the_words_count_what_is_missing(mixed: Path) -> None:
    words = answer_in_words(summarise(load_results(mixed)))
    assert "8 of 12 runs have a score (the others: failed, oom, pending, unsupported)." in words


def test_below_the_table_many_tasks_are_told_by_counts_of_verdicts(tmp_path: Path, fakes: Any) -> None:
    tasks = [fakes.LISTOPS._replace(name=f"task{index}") for index in range(5)]
    twins = [fakes.REFORMER._replace(name=name, label=name, skill=0.2) for name in ("one", "two")]
    variants = [fakes.SOFTMAX, fakes.TRANSFORMER_XL._replace(skill=0.9), *twins]
    words = _details(fakes.FakeStudy(variants=variants, tasks=tasks, seeds=[0, 1, 2], examples=1000), tmp_path)
    assert (
        "scores best on task0 (generated), task1 (generated), task2 (generated), task3 (generated) and task4" in words
    )
    assert f"Against softmax, {fakes.TRANSFORMER_XL.name} is better on 5 of 5 tasks; one and two are worse on" in words
    assert f"from 0.550× (one) to 0.775× ({fakes.TRANSFORMER_XL.name})" in words
    assert words.replace("0.", "0,").count(". ") <= 2


def test_verdicts_of_one_seed_are_said_to_be_of_these_models(tmp_path: Path, fakes: Any) -> None:
    tasks = [fakes.LISTOPS._replace(name=f"task{index}") for index in range(3)]
    words = _details(fakes.FakeStudy(tasks=tasks, seeds=[0], examples=300), tmp_path)
    assert "Against softmax, for these trained models of one seed, " in words


def test_the_words_claim_nothing_where_nothing_was_done(tmp_path: Path, fakes: Any) -> None:
    pending = {("softmax", "listops", seed): ("pending", None) for seed in (0, 1)}
    study = fakes.FakeStudy(variants=[fakes.SOFTMAX], tasks=[fakes.LISTOPS], verdicts=pending)
    assert _words(study, tmp_path) == "None of the 2 runs has a score (the others: pending)."
    assert _words(fakes.FakeStudy(name="empty", variants=[]), tmp_path) == "The study has no runs."


def test_a_study_that_trains_nothing_opens_with_time(tmp_path: Path, fakes: Any) -> None:
    study = fakes.untrained(time_ratios={fakes.TRANSFORMER_XL.label: 2.0, fakes.REFORMER.label: 8.0})
    words = _words(study, tmp_path)
    xl, reformer = fakes.TRANSFORMER_XL.name, fakes.REFORMER.name
    assert words == (
        f"At 4,096 tokens, a training step takes from 0.500× [0.476, 0.525] ({xl}) to 2.00× [1.90, 2.10] ({reformer}) "
        "the time of softmax; 1 of 2 faster, 1 of 2 slower. "
        f"At 4,096 tokens, inference takes from 0.500× [0.476, 0.525] ({xl}) to 2.00× [1.90, 2.10] ({reformer}) "
        "the time of softmax; 1 of 2 faster, 1 of 2 slower."
    )


def test_a_study_that_times_nothing_claims_nothing(tmp_path: Path, fakes: Any) -> None:
    assert _words(fakes.untrained(), tmp_path).startswith("This study trains nothing, and times no variant")


def test_options_are_said_only_where_they_tell_two_variants_apart() -> None:
    def summaries(*labels: str) -> Summaries:
        return Summaries([], labels, {}, [], frozenset(), trains=True)

    one = summaries("softmax", "reformer (n_hashes=1)")
    assert one.said("reformer (n_hashes=1)") == "reformer"
    two = summaries("softmax", "reformer (n_hashes=1)", "reformer (n_hashes=4)")
    assert two.said("reformer (n_hashes=1)") == "reformer (n_hashes=1)"
    assert two.said("softmax") == "softmax"
