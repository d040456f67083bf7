from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention_arena.catalogue import Catalogue
from attention_arena.errors import ConfigError
from attention_arena.study import Plan, StudyError, load_study

Complaints = Callable[..., list[tuple[int | None, str, str]]]

TEN_MISTAKES = """
    name: ../escape
    sedes: [0]
    seeds: [0, 1]
    model: {d_model: wide}
    training: {batch_size: 32, micro_batch_size: 5}
    measure: [sped]
    tasks:
      - paritty
      - {name: parity, options: {max_length: 0}}
      - parity
    variants:
      - {name: full, baseline: true}
      - {name: low_rank, sweep: {rank: []}}
      - {name: hashing, options: {n_hash: 4}, baseline: true}
"""


def test_a_study_with_ten_mistakes_names_all_ten_with_their_lines(complaints: Complaints) -> None:
    assert [(line, path) for line, path, _ in complaints(TEN_MISTAKES)] == [
        (1, "name"),
        (2, "sedes"),
        (4, "model.d_model"),
        (5, "training.micro_batch_size"),
        (6, "measure[0]"),
        (8, "tasks[0]"),
        (9, "tasks[1].options.max_length"),
        (13, "variants[1].sweep.rank"),
        (14, "variants[2].options.n_hash"),
        (14, "variants[2].baseline"),
    ]


def test_the_error_prints_every_problem_under_the_file(load: Callable[..., Plan], tmp_path: Path) -> None:
    with pytest.raises(StudyError) as caught:
        load("name: s\ntasks: [parity]\nvariants: [{name: full, modle: {}}, fulll]\n")
    assert isinstance(caught.value, ConfigError)
    assert str(caught.value).splitlines() == [
        f"{tmp_path / 'study.yaml'} has 2 problems:",
        "  line 3, variants[0].modle: unknown key 'modle'; did you mean 'model'? "
        "known: baseline, label, model, name, options, sweep, training",
        "  line 3, variants[1]: unknown variant 'fulll'; did you mean 'full'? known: full, hashing, low_rank",
    ]


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ("training: {steps: abc}", "training.steps", "expected an integer ≥ 0, got 'abc'"),
        ("training: {steps: '100'}", "training.steps", "expected an integer ≥ 0, got '100'"),
        ("training: {steps: true}", "training.steps", "expected an integer ≥ 0, got true"),
        ("training: {steps: 1.5}", "training.steps", "expected an integer ≥ 0, got 1.5"),
        ("training: {learning_rate: 0}", "training.learning_rate", "expected a number > 0, got 0"),
        ("training: {learning_rate: .inf}", "training.learning_rate", "expected a number > 0, got '.inf'"),
        ("training: {clip_norm: [1]}", "training.clip_norm", "expected a number > 0 or null, got [1]"),
        ("training: {precision: bf8}", "training.precision", "expected one of fp32, bf16, fp16, got 'bf8'"),
        ("training: {compile: yes}", "training.compile", "expected true or false, got 'yes'"),
        ("training: 3", "training", "expected a mapping, got 3"),
        ("training: [steps]", "training", 'expected a mapping, got ["steps"]'),
        ("model: {dropout: 1}", "model.dropout", "expected a number ≥ 0.0 and < 1.0, got 1"),
        ("model: {d_model: 64, n_heads: 5}", "model.d_model", "d_model must be a multiple of n_heads (5), got 64"),
        ("limits: {seconds: -1}", "limits.seconds", "expected a number > 0 or null, got -1"),
        ("seeds: 3", "seeds", "expected a list of at least 1 integers ≥ 0 and ≤ 4294967295, got 3"),
        ("seeds: [-1]", "seeds[0]", "expected an integer ≥ 0 and ≤ 4294967295, got -1"),
        ("seeds: []", "seeds", "expected a list of at least 1 integers ≥ 0 and ≤ 4294967295, got []"),
        ("question: [what]", "question", 'expected text, got ["what"]'),
        ("measure: [3]", "measure[0]", "expected text or a mapping, got 3"),
        ("measure: [{speed: {length: 3}}]", "measure[0].speed.length", "did you mean 'lengths'?"),
        ("measure: [{speed: {}, memory: {}}]", "measure[0]", "expected one measure"),
        ("measure: [speed, speed]", "measure[1]", "measure 'speed' stands twice with the same options"),
        ("profile: lapp", "profile", "unknown profile 'lapp'; known: full"),
    ],
)
def test_one_wrong_setting_is_one_problem_in_plain_words(
    complaints: Complaints, change: str, path: str, message: str
) -> None:
    [(line, where, words)] = complaints(f"name: s\ntasks: [parity]\nvariants: [full]\n{change}\n")
    assert (line, where) == (4, path)
    assert message in words


@pytest.mark.parametrize(
    ("entries", "path", "message"),
    [
        (
            "[{name: low_rank, options: {rank: 65}}]",
            "variants[0].options.rank",
            "rank must not exceed max_length (64), got 65",
        ),
        (
            "[{name: low_rank, sweep: {rank: [8, 99]}}]",
            "variants[0].sweep.rank[1]",
            "rank must not exceed max_length (64)",
        ),
        (
            "[{name: low_rank, sweep: {rank: [8, no]}}]",
            "variants[0].sweep.rank[1]",
            "expected an integer ≥ 1, got 'no'",
        ),
        ("[{name: low_rank, sweep: {rank: 8}}]", "variants[0].sweep.rank", "expected a list of values, got 8"),
        ("[{name: low_rank, sweep: {}}]", "variants[0].sweep", "a sweep over nothing"),
        ("[{name: low_rank, sweep: {rank: [8, 8]}}]", "variants[0].sweep.rank[1]", "8 stands twice in this sweep"),
        (
            "[{name: low_rank, sweep: {rnak: [8]}}]",
            "variants[0].sweep.rnak",
            "unknown low_rank option 'rnak'; did you mean",
        ),
        (
            "[{name: low_rank, sweep: {model.d_fff: [8]}}]",
            "variants[0].sweep.model.d_fff",
            "unknown model key 'model.d_fff'",
        ),
        (
            "[{name: low_rank, options: {rank: 4}, sweep: {rank: [8]}}]",
            "variants[0].sweep.rank",
            "rank is swept and also set in options",
        ),
        (
            "[{name: full, model: {d_ff: 4}, sweep: {model.d_ff: [8]}}]",
            "variants[0].sweep.model.d_ff",
            "d_ff is swept and also set in model",
        ),
        (
            "[{name: low_rank, sweep: {rank: [1, 2], model.d_ff: [" + ", ".join(map(str, range(1, 600))) + "]}}]",
            "variants[0].sweep",
            "the sweep has 1198 combinations, and at most 1000 are allowed",
        ),
        ("[full, {name: full}]", "variants[1]", "full comes to the same runs as variants[0] on line 3"),
        (
            "[low_rank, {name: low_rank, options: {rank: 16}, label: again}]",
            "variants[1]",
            "again comes to the same runs as variants[0]",
        ),
        (
            "[full, {name: full, model: {d_ff: 4}}]",
            "variants[1]",
            "the label 'full' stands twice, first on line 3; give one another `label`",
        ),
        ("[{name: full, label: low_rank}, low_rank]", "variants[1]", "the label 'low_rank' stands twice"),
        ("[{name: full, label: ''}]", "variants[0].label", "expected text of at least 1 character or null, got ''"),
        (
            "[{name: low_rank, baseline: true, sweep: {rank: [1, 2]}}]",
            "variants[0].baseline",
            "the baseline must be one variant, but its sweep makes 2",
        ),
        (
            "[{name: full, baseline: true}, {name: low_rank, baseline: true}]",
            "variants[1].baseline",
            "a second baseline; variants[0].baseline on line 3 is one already",
        ),
        ("[{label: nameless}]", "variants[0]", "name is missing"),
        ("[]", "variants", "got []"),
        ("[{name: full, options: {any: 1}}]", "variants[0].options.any", "unknown full option 'any'; known: none"),
        ("[{name: full, options: }]", "variants[0].options", "expected a mapping, got null"),
        (
            "[{name: full, training: {micro_batch_size: 7}}]",
            "variants[0].training.micro_batch_size",
            "micro_batch_size must divide batch_size (32), got 7",
        ),
    ],
)
def test_one_wrong_variant_is_one_problem(complaints: Complaints, entries: str, path: str, message: str) -> None:
    [(line, where, words)] = complaints(f"name: s\ntasks: [parity]\nvariants: {entries}\n")
    assert (line, where) == (3, path)
    assert message in words


def test_blocks_that_do_not_hold_together_are_reported_where_they_stand(complaints: Complaints) -> None:
    text = "name: s\nmodel: {norm: post, residual: reversible}\ntasks: [parity]\nvariants: [full, low_rank]\n"
    [(line, path, message)] = complaints(text)
    assert (line, path) == (2, "model")
    assert message.startswith("a reversible stack needs norm: pre")


def test_a_seed_twice_is_a_problem(complaints: Complaints) -> None:
    [(line, path, message)] = complaints("name: s\nseeds:\n  - 4\n  - 4\ntasks: [parity]\nvariants: [full]\n")
    assert (line, path) == (4, "seeds[1]")
    assert message.startswith("seed 4 stands twice")


def test_the_same_task_twice_is_a_problem(complaints: Complaints) -> None:
    text = "name: s\ntasks:\n  - parity\n  - {name: parity, options: {max_length: 64}}\nvariants: [full]\n"
    assert complaints(text) == [(4, "tasks[1]", "parity comes to the same runs as tasks[0] on line 3")]


@pytest.mark.parametrize("name", ["../up", "a/b", "a\\b", "", ".hidden", "-flag", "a b", "x" * 81, "new\\nline"])
def test_a_name_that_is_no_folder_name_is_refused(complaints: Complaints, name: str) -> None:
    quoted = '"' + name.replace("\\b", "\\\\b") + '"'
    [(line, path, message)] = complaints(f"name: {quoted}\ntasks: [parity]\nvariants: [full]\n")
    assert (line, path) == (1, "name")
    assert "a name becomes a folder of the results" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a list", 'expected a mapping with name, tasks and variants, got ["a list"]'),
        ("just text", "expected a mapping with name, tasks and variants, got 'just text'"),
        ("", "the file is empty; a study needs name, tasks and variants"),
        ("{name: s", "not YAML: "),
    ],
)
def test_a_file_that_is_no_study_says_so_once(complaints: Complaints, text: str, message: str) -> None:
    [(_, _, words)] = complaints(text)
    assert words.startswith(message)


def test_missing_keys_are_all_named(complaints: Complaints) -> None:
    assert [message for _, _, message in complaints("question: why?")] == [
        "name is missing",
        "tasks is missing",
        "variants is missing",
    ]


def test_a_file_that_cannot_be_read_is_a_study_error(tmp_path: Path, catalogue: Catalogue) -> None:
    not_text = tmp_path / "binary.yaml"
    not_text.write_bytes(b"name: \xff")
    for path, message in [
        (tmp_path / "missing.yaml", "there is no such file"),
        (tmp_path, "this is a folder; expected a study file"),
        (not_text, "not text in UTF-8: byte 6 is 0xff"),
    ]:
        with pytest.raises(StudyError, match=message):
            load_study(path, None, catalogue)


def test_an_unknown_variant_of_a_broken_plugin_names_the_plugin(write: Callable[[str], Path]) -> None:
    from attention_arena.catalogue import Plugin, PluginProblem

    catalogue = Catalogue(problems=(PluginProblem(Plugin("wavy", "wavy-dist", "2.0"), "failed to import: oh"),))
    with pytest.raises(StudyError, match=r"variant 'wavy' cannot be used: plugin 'wavy' of wavy-dist 2\.0: failed"):
        load_study(write("name: s\ntasks: [parity]\nvariants: [wavy]"), None, catalogue)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from(["full", "parity", "x", ""]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["name", "options", "full"]), inner, max_size=2)
    ),
    max_leaves=4,
)
STUDY_KEYS = st.sampled_from(
    ["name", "seeds", "model", "training", "measure", "limits", "tasks", "variants", "profiles"]
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(STUDY_KEYS, JSON_VALUES, max_size=6))
def test_any_values_at_all_give_a_plan_or_a_study_error(
    tmp_path_factory: pytest.TempPathFactory, catalogue: Catalogue, values: dict[str, object]
) -> None:
    import yaml

    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(yaml.safe_dump({"name": "s", "tasks": ["parity"], "variants": ["full"], **values}))
    try:
        plan = load_study(path, None, catalogue)
    except StudyError as error:
        n_found = len(error.problems)
    else:
        n_found = len(plan.runs)
    assert n_found
