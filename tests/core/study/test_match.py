"""What a study's `match` does to its plan, with made-up variants whose counts one can work out by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from attention_arena.catalogue import Catalogue, LoadedPlugin, Plugin, collect_catalogue
from attention_arena.hooks import hookimpl
from attention_arena.runs.spec import RunSpec, resolve
from attention_arena.study import Plan, StudyError, describe
from attention_arena.task import Task
from attention_arena.variant import Variant
from tests.core.study.conftest import BABBLE, PARITY
from tests.core.study.toy_budgets import CURIOUS, EXTRA, IDLE, ONE_WAY, PLAIN, RELATIVE, SQUARE, STIFF

Complaints = Callable[..., list[tuple[int | None, str, str]]]
Load = Callable[..., Plan]


class Toys:
    @hookimpl
    def register_variants(self) -> Sequence[Variant]:
        return [PLAIN, EXTRA, RELATIVE, SQUARE, STIFF, ONE_WAY, IDLE, CURIOUS]

    @hookimpl
    def register_tasks(self) -> Sequence[Task]:
        return [PARITY, BABBLE]


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    collected = collect_catalogue([LoadedPlugin(Plugin("toys", "toy-distribution", "1.0"), Toys())])
    assert not collected.problems
    return collected


STUDY = """
name: budgets
match: parameters
seeds: [0, 1]
model: {d_model: 8, n_layers: 1, d_ff: 100}
tasks: [parity]
variants:
  - {name: plain, baseline: true}
"""


def widths(plan: Plan) -> dict[str, int]:
    return {run.label: run.model.d_ff for run in plan.runs}


def test_extra_parameters_are_taken_out_of_the_feed_forward_layer(load: Load) -> None:
    """Of 8 x 100, with 80 more and 8 a unit, 90 units are left."""
    plan = load(STUDY + "  - {name: extra, options: {extra: 80}}")
    assert widths(plan) == {"plain": 100, "extra (extra=80)": 90}
    run = plan.runs[-1]
    assert run.match is not None
    assert (run.match.what, run.match.to, run.match.gap) == ("parameters", "plain", 0.0)
    assert run.departs_from_shape == ("d_ff=90",)
    assert [each.match for each in plan.runs if each.baseline] == [None, None]


def test_a_table_of_positions_that_a_variant_does_without_counts(load: Load) -> None:
    """The table has 64 x 8 numbers, which are 64 units."""
    assert widths(load(STUDY + "  - relative"))["relative"] == 164


def test_the_gap_is_what_a_whole_unit_leaves(load: Load) -> None:
    """800 + 512 of positions; with 83 extra, 90 units are 3 too many."""
    match = load(STUDY + "  - {name: extra, options: {extra: 83}}").runs[-1].match
    assert match is not None
    assert match.gap == pytest.approx(3 / 1312)
    assert match.words == "matched parameters to plain: d_ff 100 -> 90 (+0.2 %)"


def test_flops_are_matched_where_parameters_are_not(load: Load) -> None:
    plan = load(STUDY.replace("match: parameters", "match: flops") + "  - {name: extra, options: {extra: 80}}")
    assert widths(plan)["extra (extra=80)"] == 100
    assert plan.runs[-1].match.words == "matched FLOPs to plain: d_ff 100 stays (+0.0 %)"  # type: ignore[union-attr]


def test_equal_shapes_are_the_default(load: Load) -> None:
    plan = load(STUDY.replace("match: parameters\n", "") + "  - {name: extra, options: {extra: 80}}")
    assert widths(plan)["extra (extra=80)"] == 100
    assert {run.match for run in plan.runs} == {None}


def test_a_profile_may_match(load: Load) -> None:
    text = STUDY.replace("match: parameters\n", "") + "  - {name: extra, options: {extra: 80}}\n"
    text += "profiles: {fair: {match: parameters}}"
    assert widths(load(text))["extra (extra=80)"] == 100
    assert widths(load(text, "fair"))["extra (extra=80)"] == 90


def test_the_classifier_stays_as_wide_as_the_baselines(load: Load) -> None:
    text = STUDY.replace("baseline: true", "baseline: true, model: {d_ff: 110}")
    run = load(text + "  - {name: extra, options: {extra: 80}}").runs[-1]
    assert (run.model.d_ff, run.model.classifier_width) == (100, 110)


def spec(plan: Plan, label: str) -> RunSpec:
    run = next(run for run in plan.runs if run.label == label)
    return resolve(run, "data", {run.variant.name: ("toys", "1.0")}, "0")


def test_a_variant_that_matches_as_it_is_keeps_its_run(load: Load) -> None:
    text = STUDY + "  - curious\n  - relative\n"
    matched, shaped = load(text), load(text.replace("match: parameters\n", ""))
    assert spec(matched, "curious").run == spec(shaped, "curious").run
    assert spec(matched, "relative").run != spec(shaped, "relative").run


def test_a_reference_for_cost_keeps_the_shared_shape(load: Load) -> None:
    run = load(STUDY + "  - {name: idle, options: {extra: 80}}").runs[-1]
    assert (run.model.d_ff, run.match, run.unsupported) == (100, None, None)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (
            "{name: extra, options: {extra: 2000}}",
            "extra (extra=2000) cannot come within 1 % of plain's 1,312 parameters on parity: with d_ff 1 it has 2,520"
            "; give it smaller options, or the baseline a larger d_ff, or use match: shape",
        ),
        (
            "{name: stiff, options: {extra: 10}}",
            "stiff (extra=10) cannot come within 1 % of plain's 1,312 parameters on parity: with d_ff 100 it has 650, "
            "and no d_ff comes nearer; widen the shared model, or use match: shape",
        ),
    ],
    ids=["too heavy", "heeds no d_ff"],
)
def test_what_no_width_can_match_is_unsupported_with_both_counts_and_the_way_out(
    load: Load, entry: str, reason: str
) -> None:
    plan = load(STUDY + f"  - {entry}\n  - relative\n")
    assert {run.unsupported for run in plan.runs[2:4]} == {reason}
    assert {run.unsupported for run in plan.runs[4:]} == {None}


def test_a_step_too_coarse_for_the_tolerance_is_unsupported(load: Load) -> None:
    text = STUDY.replace("d_ff: 100", "d_ff: 4, positions: none")
    run = load(text + "  - {name: extra, options: {extra: 3}}").runs[-1]
    assert run.unsupported is not None
    assert "within 1 % of plain's 32 parameters on parity: with d_ff 4 it has 35, and no d_ff" in run.unsupported


def test_where_the_baseline_cannot_do_the_task_there_is_nothing_to_match(load: Load) -> None:
    text = STUDY.replace("[parity]", "[babble]").replace("name: plain", "name: one_way")
    reasons = {run.unsupported for run in load(text + "  - plain").runs if not run.baseline}
    cause = "one_way cannot do causal attention, which babble needs"
    assert reasons == {f"the baseline has no parameters to match here: {cause}"}


def test_what_is_matched_stands_in_the_plan(load: Load) -> None:
    lines = describe(load(STUDY + "  - {name: extra, options: {extra: 80}}")).splitlines()
    assert any(line.endswith("matched parameters to plain: d_ff 100 -> 90 (+0.0 %)") for line in lines)


@pytest.mark.parametrize(
    ("text", "line", "path", "message"),
    [
        (STUDY.replace(", baseline: true", ""), 2, "match", "'parameters' needs a baseline"),
        (STUDY.replace("match: parameters", "match: size"), 2, "match", "expected one of shape, parameters, flops"),
        (STUDY + "  - {name: extra, model: {d_ff: 8}}", 8, "variants[1].model.d_ff", "got 8, but `match"),
        (STUDY + "  - {name: extra, sweep: {model.d_ff: [8, 9]}}", 8, "variants[1].sweep.model.d_ff[0]", "got 8"),
        (STUDY + "  - {name: extra, model: {d_model: 16}}", 8, "variants[1].model.d_model", "sizes embedding or head"),
        (
            STUDY.replace("baseline: true", "baseline: true, model: {pooling: cls}") + "  - extra",
            7, "variants[0].model.pooling", "set it in the study's model block",
        ),
    ],
    ids=["no baseline", "unknown", "d_ff set", "d_ff swept", "another d_model", "the baseline's own pooling"],
)  # fmt: skip
def test_what_contradicts_a_match_is_a_problem_in_its_place(
    complaints: Complaints, text: str, line: int, path: str, message: str
) -> None:
    found = [each for each in complaints(text) if each[:2] == (line, path)]
    assert len(found) == 1
    assert message in found[0][2]


def test_a_problem_of_match_reads_as_one_sentence_after_its_place(load: Load, tmp_path: Path) -> None:
    """The place is named once, before the message, and every message says what was found and the way out."""
    text = "name: budgets\nmatch: flops\ntasks: [parity]\nvariants:\n"
    with pytest.raises(StudyError) as caught:
        load(text + "  - plain\n  - {name: extra, model: {d_ff: 8}}\n")
    assert str(caught.value).splitlines()[1:] == [
        "  line 2, match: 'flops' needs a baseline whose budget is matched; mark one variant with `baseline: true`, "
        "or write `match: shape`",
    ]
    with pytest.raises(StudyError) as caught:
        load(text + "  - {name: plain, baseline: true}\n  - {name: extra, model: {d_ff: 8, pooling: cls}}\n")
    assert str(caught.value).splitlines()[1:] == [
        "  line 6, variants[1].model.d_ff: got 8, but `match: flops` finds d_ff for extra; leave it out",
        "  line 6, variants[1].model.pooling: got 'cls', but pooling sizes embedding or head, which `match: flops` "
        "wants alike in all variants; set it in the study's model block",
    ]


def test_a_variant_that_bends_is_matched(load: Load) -> None:
    """8 x 25 + 25^2 is one more than 8 x 103."""
    run = load(STUDY.replace("d_ff: 100", "d_ff: 103") + "  - square").runs[-1]
    assert run.model.d_ff == 25
    assert run.match is not None
    assert run.match.gap == pytest.approx(1 / (8 * 103 + 64 * 8))
