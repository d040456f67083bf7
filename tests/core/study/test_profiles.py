from __future__ import annotations

from collections.abc import Callable

import pytest

from attention_arena.study import Plan

Load = Callable[..., Plan]
Complaints = Callable[..., list[tuple[int | None, str, str]]]

STUDY = """\
name: s
profile: tiny
seeds: [0, 1, 2]
model: {d_model: 32, n_layers: 2}
measure: [{speed: {lengths: [8, 16]}}, memory]
tasks: [{name: parity, options: {max_length: 100}}, babble]
variants:
  - {name: full, label: ours}
  - {name: low_rank, options: {sharing: keys}, sweep: {rank: [2, 4]}}
  - {name: hashing, label: full}
profiles:
  tiny:
"""


def test_the_studys_own_profile_counts_unless_another_is_asked_for(load: Load) -> None:
    text = STUDY + "    seeds: [7]\n  other: {seeds: [8]}"
    assert [load(text, profile).runs[0].seed for profile in (None, "tiny", "other", "full")] == [7, 7, 8, 0]
    assert [load(text, profile).profile for profile in (None, "other", "full")] == ["tiny", "other", "full"]


def test_mappings_merge_and_lists_are_replaced(load: Load) -> None:
    plan = load(STUDY + "    model: {n_layers: 1}\n    seeds: [9]\n    tasks: [babble]")
    assert (plan.runs[0].model.d_model, plan.runs[0].model.n_layers) == (32, 1)
    assert plan.study.seeds == [9]
    assert [task.name for task in plan.study.tasks] == ["babble"]


def test_a_mapping_changes_the_named_task_and_leaves_the_others(load: Load) -> None:
    plan = load(STUDY + "    tasks: {parity: {options: {max_length: 10}}}")
    assert [(task.name, task.options) for task in plan.study.tasks] == [("parity", {"max_length": 10}), ("babble", {})]


def test_a_mapping_changes_the_named_variant_key_by_key(load: Load) -> None:
    plan = load(STUDY + "    variants: {low_rank: {sweep: {rank: [3]}, training: {steps: 4}}}")
    entry = plan.study.variants[1]
    assert (entry.options, entry.sweep, entry.training) == ({"sharing": "keys"}, {"rank": [3]}, {"steps": 4})
    assert [variant.name for variant in plan.study.variants] == ["full", "low_rank", "hashing"]


def test_a_label_names_an_entry_before_a_name_does(load: Load) -> None:
    plan = load(STUDY + "    variants: {full: {model: {d_ff: 4}}}")
    assert [entry.model for entry in plan.study.variants] == [{}, {}, {"d_ff": 4}]


def test_null_leaves_an_entry_out(load: Load) -> None:
    plan = load(STUDY + "    variants: {ours: null, low_rank: null}\n    measure: {memory: null}")
    assert [run.label for run in plan.runs if run.seed == 0] == ["full", "full"]
    assert [measure.name for measure in plan.runs[0].measures] == ["speed"]


def test_measures_change_by_name_and_new_ones_join(load: Load) -> None:
    text = STUDY.replace(", memory]", "]")
    plan = load(text + "    measure: {speed: {lengths: [4]}, memory: {lengths: [5]}}")
    assert [(each.name, each.options.lengths) for each in plan.runs[0].measures] == [  # type: ignore[attr-defined]
        ("speed", (4,)),
        ("memory", (5,)),
    ]


def test_the_plan_of_a_profile_is_not_changed_by_another(load: Load) -> None:
    text = STUDY + "    seeds: [7]\n  other: {tasks: {parity: null}, model: {d_model: 64}}"
    plan = load(text, "tiny")
    assert [task.name for task in plan.study.tasks] == ["parity", "babble"]
    assert plan.runs[0].model.d_model == 32


UNUSED = STUDY.replace("profile: tiny\n", "")


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ("trainin: {steps: 1}", "profiles.tiny.trainin", "unknown key 'trainin'; did you mean 'training'?"),
        ("training: {stpes: 1}", "profiles.tiny.training.stpes", "unknown training key 'stpes'; did you mean 'steps'?"),
        ("model: {d_model: x}", "profiles.tiny.model.d_model", "expected an integer ≥ 1, got 'x'"),
        ("name: t", "profiles.tiny.name", "a profile cannot change name"),
        (
            "tasks: {prity: {}}",
            "profiles.tiny.tasks.prity",
            "unknown task of this study 'prity'; did you mean 'parity'?",
        ),
        (
            "tasks: {parity: 3}",
            "profiles.tiny.tasks.parity",
            "expected a mapping to merge, or null to leave it out, got 3",
        ),
        ("variants: [fulll]", "profiles.tiny.variants[0]", "unknown variant 'fulll'; did you mean 'full'?"),
        ("measure: {sped: null}", "profiles.tiny.measure.sped", "unknown measure of this study 'sped'; did you mean"),
        ("measure: {speed: {l: 1}}", "profiles.tiny.measure.speed.l", "unknown speed option 'l'; known: lengths"),
    ],
)
def test_a_profile_is_checked_even_when_it_is_not_used(
    complaints: Complaints, change: str, path: str, message: str
) -> None:
    [(line, where, words)] = complaints(f"{UNUSED}    {change}\n", "full")
    assert (line, where) == (UNUSED.count("\n") + 1, path)
    assert message in words


def test_a_problem_that_only_a_profile_makes_names_the_profile(complaints: Complaints) -> None:
    text = UNUSED + "    tasks: {parity: {options: {max_length: 3}}}\n"
    [(_, path, message)] = complaints(text)
    assert path == "variants[1].sweep.rank[1]"
    assert (
        message == "rank must not exceed max_length (3), got 4 (low_rank (rank=4, sharing=keys) on parity, 3 tokens) "
        "(under profile tiny)"
    )


def test_a_problem_of_the_study_itself_is_reported_once(complaints: Complaints) -> None:
    text = UNUSED.replace("d_model: 32", "d_model: x") + "    seeds: [1]\n  other: {seeds: [2]}\n"
    assert [(path, "profile" in message) for _, path, message in complaints(text)] == [("model.d_model", False)]


def test_a_profile_that_leaves_nothing_is_a_problem(complaints: Complaints) -> None:
    [(_, path, message)] = complaints(UNUSED + "    tasks: {parity: null, babble: null}\n")
    assert path == "tasks"
    assert message.endswith("got [] (under profile tiny)")


def test_an_unknown_profile_brings_the_known_ones(complaints: Complaints) -> None:
    assert complaints(UNUSED + "    seeds: [1]\n", "tony") == [
        (None, "", "unknown profile 'tony'; did you mean 'tiny'? known: full, tiny")
    ]


@pytest.mark.parametrize(
    ("name", "message"), [("full", "'full' is the study without a profile"), ("../up", "becomes a folder")]
)
def test_a_profile_needs_a_free_folder_name(complaints: Complaints, name: str, message: str) -> None:
    [(_, path, words)] = complaints(f"name: s\ntasks: [parity]\nvariants: [full]\nprofiles:\n  {name}: {{}}\n")
    assert path == f"profiles.{name}"
    assert message in words
