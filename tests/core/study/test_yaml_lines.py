from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attention_arena.study import StudyError
from attention_arena.study.yaml_lines import read_yaml

FILE = Path("study.yaml")
YAML_PIECES = st.sampled_from(
    [
        "a",
        "1",
        ": ",
        "- ",
        "\n",
        "  ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "&x ",
        "*x",
        "<<",
        "!!python/name:os.system ",
        '"',
        "\\ud800",
        "\\U00110000",
        "!!int ",
        "? ",
        "|",
        "#",
        "%TAG",
        "---\n",
        "'",
        "0x",
        "1e999",
        "~",
        "\t",
    ]
)


def problems_of(text: str) -> list[tuple[int | None, str]]:
    with pytest.raises(StudyError) as caught:
        read_yaml(text, FILE)
    return [(problem.line, problem.message) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4),
        ("1E5", 1e5),
        ("1.0e-4", 1e-4),
        (".5", 0.5),
        ("5.", 5.0),
        ("-3", -3),
        ("true", True),
        ("null", None),
        ("~", None),
        ("yes", "yes"),
        ("no", "no"),
        ("12:30", "12:30"),
        ("010", "010"),
        ("1_000", "1_000"),
        ("2020-01-01", "2020-01-01"),
        ("e5", "e5"),
        ("12", 12),
        (".inf", ".inf"),
        ("'3e-4'", "3e-4"),
    ],
)
def test_scalars_follow_the_core_schema(text: str, value: object) -> None:
    found = read_yaml(f"key: {text}", FILE).plain()["key"]
    assert found == value
    assert type(found) is type(value)


def test_every_value_knows_its_line_and_path() -> None:
    tree = read_yaml("a:\n  - 1\n  - b:\n      c: 2\nd: {e: 3}\n", FILE)
    inner = tree.mapping_list("a")[0].mapping("b").child("c")
    assert inner is not None
    assert (inner.line, inner.path, inner.value) == (4, "a[1].b.c", 2)
    assert [(each.line, each.path) for _, each in tree.items()] == [(1, "a"), (5, "d")]


def test_an_alias_stands_for_its_anchor_at_its_own_path() -> None:
    tree = read_yaml("a: &x {b: 1}\nc: *x\n", FILE)
    assert tree.plain() == {"a": {"b": 1}, "c": {"b": 1}}
    assert tree.mapping("c").line == 2
    assert tree.mapping("c").child("b").path == "c.b"  # type: ignore[union-attr]


def test_a_merge_key_brings_in_what_is_not_there() -> None:
    tree = read_yaml("a: &x {b: 1, c: 1}\nd: &y {c: 2, e: 2}\nf: {<<: [*x, *y], b: 3}\n", FILE)
    assert tree.plain()["f"] == {"b": 3, "c": 1, "e": 2}


def test_both_lines_of_a_duplicate_key_are_named() -> None:
    assert problems_of("a: 1\nb: 2\na: 3\n") == [(3, "this key stands twice, first on line 1")]


def test_a_second_merge_key_is_a_duplicate() -> None:
    [(line, message)] = problems_of("a: &a {x: 1}\nb:\n  <<: *a\n  <<: *a\n")
    assert line == 4
    assert message.startswith("this key stands twice")


def test_several_duplicates_are_reported_at_once() -> None:
    assert [line for line, _ in problems_of("a: 1\na: 2\nb: {c: 1,\n c: 2}\n")] == [2, 4]


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!mine", "!!binary", "!!set"])
def test_tags_are_refused_by_name(tag: str) -> None:
    [(line, message)] = problems_of(f"a: 1\nb: {tag} x\n")
    assert line == 2
    assert message == f"the tag {tag} is not allowed; a study has plain values alone"


def test_a_syntax_error_has_its_line() -> None:
    [(line, message)] = problems_of("a: 1\nb: [1, 2\nc: 3\n")
    assert line == 3
    assert message.startswith("not YAML: ")


def test_a_tab_has_a_way_out() -> None:
    [(line, message)] = problems_of("a: 1\n\tb: 2\n")
    assert line == 2
    assert message.endswith("; indent with spaces")


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n"])
def test_an_empty_file_says_what_is_missing(text: str) -> None:
    [(_, message)] = problems_of(text)
    assert message == "the file is empty; a study needs name, tasks and variants"


def test_a_key_that_is_no_name_is_refused() -> None:
    assert problems_of("a: 1\n2: 3\n") == [(2, "expected a name as key, got 2; put it in quotes")]


def test_a_value_that_contains_itself_is_refused() -> None:
    assert problems_of("a: &x [*x]\n") == [(1, "an alias refers to a value that contains it")]


def test_aliases_cannot_swell_without_bound() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    [(_, message)] = problems_of("\n".join(lines))
    assert "more than 100000 values" in message


def test_deep_nesting_is_refused_without_a_crash() -> None:
    assert "nested too deeply" in problems_of("[" * 5000)[0][1]


def test_a_number_beyond_floats_is_refused() -> None:
    assert problems_of("b: 1\na: 1e999\n") == [(2, "cannot be read as float: 1e999")]


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=40), st.lists(YAML_PIECES, max_size=12).map("".join)))
@example('a: "\\ud800"')
@example('a: "\\U00110000"')
@example("a: " + "9" * 5000)
@example("!!bool maybe")
@example("<<: *nowhere")
@example("? {a: 1}\n: 2")
def test_any_text_gives_a_tree_or_a_study_error(text: str) -> None:
    try:
        tree = read_yaml(text, FILE)
    except StudyError as error:
        line = error.problems[0].line
    else:
        line = tree.line
    assert line is None or line >= 1
