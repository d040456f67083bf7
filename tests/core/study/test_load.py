from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from attention_arena.catalogue import Catalogue, LoadedPlugin, Plugin, collect_catalogue
from attention_arena.hooks import hookimpl
from attention_arena.study import Plan, StudyError, load_study
from attention_arena.study.fit import why_unsupported
from attention_arena.task import TaskNeeds
from attention_arena.variant import Backbone, Capability, ModelShape, Options, Variant
from tests.core.study.conftest import BABBLE, LOW_RANK

Load = Callable[..., Plan]

SMALL = """
    name: small
    model: {d_model: 16, n_heads: 2}
    training: {steps: 5}
    tasks: [parity]
    variants:
"""


def labels(plan: Plan) -> list[str]:
    return [run.label for run in plan.runs]


def test_runs_come_task_by_task_variant_by_variant_seed_by_seed(load: Load) -> None:
    plan = load("""
        name: order
        seeds: [3, 1]
        tasks: [babble, parity]
        variants: [hashing, full]
    """)
    assert [(run.task.name, run.variant.name, run.seed) for run in plan.runs] == [
        ("babble", "hashing", 3),
        ("babble", "hashing", 1),
        ("babble", "full", 3),
        ("babble", "full", 1),
        ("parity", "hashing", 3),
        ("parity", "hashing", 1),
        ("parity", "full", 3),
        ("parity", "full", 1),
    ]


def test_measures_are_planned_on_the_first_seed_only(load: Load) -> None:
    plan = load("""
        name: measured
        seeds: [4, 5]
        measure: [speed, {memory: {lengths: [8, 16]}}]
        tasks: [parity]
        variants: [full, low_rank]
    """)
    named = [(run.seed, [measure.name for measure in run.measures]) for run in plan.runs]
    assert named == [(4, ["speed", "memory"]), (5, []), (4, ["speed", "memory"]), (5, [])]
    assert plan.runs[0].measures[1].options.lengths == (8, 16)  # type: ignore[attr-defined]


def test_a_run_that_measures_is_planned_beside_the_baseline(load: Load) -> None:
    plan = load("""
        name: beside
        seeds: [4, 5]
        measure: [speed]
        model: {d_model: 16, n_heads: 2}
        tasks: [parity, babble]
        variants: [{name: full, baseline: true}, {name: low_rank, model: {n_layers: 3}}, hashing]
    """)
    beside = {
        (run.task.name, run.variant.name, run.seed): run.reference and run.reference.label
        for run in plan.runs
        if run.reference
    }
    assert beside == {
        (task, variant, 4): "full"
        for task, variant in (
            ("parity", "low_rank"),
            ("parity", "hashing"),
            ("babble", "hashing"),
            ("babble", "low_rank"),
        )
    }
    low_rank = next(run for run in plan.runs if run.variant.name == "low_rank")
    assert low_rank.model.n_layers == 3
    assert low_rank.reference
    assert low_rank.reference.model.n_layers == 2


def test_a_task_may_have_measures_of_its_own_or_none(load: Load) -> None:
    plan = load("""
        name: own
        measure: [speed]
        model: {d_model: 16, n_heads: 2}
        tasks: [{name: parity, measure: [memory, {speed: {lengths: [4]}}]}, {name: babble, measure: []}]
        variants: [{name: full, baseline: true}, low_rank, hashing]
    """)
    named = {run.task.name: [measure.name for measure in run.measures] for run in plan.runs}
    assert named == {"parity": ["memory", "speed"], "babble": []}
    assert {run.task.name for run in plan.runs if run.reference} == {"parity"}


def test_a_run_that_measures_nothing_has_no_reference(load: Load) -> None:
    plan = load(SMALL + "      [{name: full, baseline: true}, low_rank]")
    assert [run.reference for run in plan.runs] == [None, None]


def test_later_blocks_win(load: Load) -> None:
    plan = load("""
        name: layers
        model: {d_model: 16, n_heads: 2, n_layers: 1, d_ff: 8}
        training: {steps: 1, batch_size: 2, learning_rate: 3e-4}
        tasks: [{name: parity, model: {n_layers: 2, d_ff: 16}, training: {steps: 2, batch_size: 4}}]
        variants: [{name: full, model: {d_ff: 32}, training: {batch_size: 8}}]
    """)
    [run] = plan.runs
    assert (run.model.d_model, run.model.n_layers, run.model.d_ff) == (16, 2, 32)
    assert (run.training.steps, run.training.batch_size, run.training.learning_rate) == (2, 8, 3e-4)
    assert run.departs_from_shape == ("d_ff=32",)


def test_an_override_that_changes_nothing_is_no_departure(load: Load) -> None:
    plan = load(SMALL + "      - {name: full, model: {d_model: 16}}")
    assert plan.runs[0].departs_from_shape == ()


def test_what_a_variant_adapts_is_a_departure(load: Load) -> None:
    plan = load(SMALL + "      - {name: hashing, model: {n_layers: 3}}")
    assert plan.runs[0].model.residual == "reversible"
    assert plan.runs[0].departs_from_shape == ("n_layers=3", "residual=reversible")


def test_a_sweep_is_a_product_in_the_files_order(load: Load) -> None:
    plan = load(SMALL + "      - {name: hashing, sweep: {bucket: [16, 4], n_hashes: [1, 2]}}")
    assert labels(plan) == [
        "hashing (n_hashes=1, bucket=16)",
        "hashing (n_hashes=2, bucket=16)",
        "hashing (n_hashes=1, bucket=4)",
        "hashing (n_hashes=2, bucket=4)",
    ]
    assert [run.variant_options.bucket for run in plan.runs] == [16, 16, 4, 4]  # type: ignore[attr-defined]


def test_model_and_training_keys_can_be_swept(load: Load) -> None:
    plan = load(SMALL + "      - {name: full, sweep: {model.n_layers: [1, 2], training.learning_rate: [1e-3]}}")
    assert [(run.label, run.model.n_layers, run.training.learning_rate) for run in plan.runs] == [
        ("full (model.n_layers=1, training.learning_rate=0.001)", 1, 1e-3),
        ("full (model.n_layers=2, training.learning_rate=0.001)", 2, 1e-3),
    ]
    assert plan.runs[0].departs_from_shape == ("n_layers=1",)


def test_labels_show_options_that_differ_from_defaults(load: Load) -> None:
    plan = load(
        SMALL
        + """
      - {name: low_rank, options: {rank: 16}}
      - {name: low_rank, options: {rank: 8, sharing: keys}}
      - {name: low_rank, label: mine, options: {rank: 4}}
      - {name: low_rank, label: ours, options: {sharing: all}, sweep: {rank: [1, 2]}}
      - {name: hashing, options: {widths: [1, 2]}}
    """
    )
    assert labels(plan) == [
        "low_rank",
        "low_rank (rank=8, sharing=keys)",
        "mine",
        "ours (rank=1)",
        "ours (rank=2)",
        "hashing (widths=[1, 2])",
    ]


def test_a_variant_that_cannot_do_a_task_is_planned_as_unsupported(load: Load) -> None:
    plan = load("name: pair\ntasks: [babble, parity]\nvariants: [low_rank]")
    assert [run.unsupported for run in plan.runs] == [
        "low_rank cannot do causal attention, which babble needs",
        None,
    ]


def test_a_variant_may_say_why_it_lacks_what_a_task_needs() -> None:
    refused = replace(LOW_RANK, lacks={Capability.CAUSAL: "a slot mixes all tokens", Capability.STEPWISE: "no matter"})
    needs = TaskNeeds(frozenset(), max_length=8, causal=True)
    cause = why_unsupported(refused, BABBLE, needs)
    assert cause == "low_rank cannot do causal attention, which babble needs: a slot mixes all tokens"


def test_an_unsupported_pair_is_not_built(load: Load) -> None:
    plan = load("name: pair\ntasks: [{name: babble, options: {max_length: 4}}]\nvariants: [low_rank]")
    assert plan.runs[0].unsupported is not None


def test_building_allocates_nothing(load: Load) -> None:
    width = 2**20
    plan = load(f"name: huge\nmodel: {{d_model: {width}, d_ff: {width}}}\ntasks: [parity]\nvariants: [full]")
    assert plan.runs[0].model.d_model == width


def plan_with_build(write: Callable[[str], Path], catalogue: Catalogue, build: Callable[..., Backbone]) -> Plan:
    odd = Variant("odd", "", "-", frozenset({Capability.BIDIRECTIONAL, Capability.PADDING}), Options, build)

    class Odd:
        @hookimpl
        def register_variants(self) -> list[Variant]:
            return [odd]

    extra = collect_catalogue([LoadedPlugin(Plugin("odd", "odd", "1"), Odd())])
    both = Catalogue({**catalogue.variants, **extra.variants}, catalogue.tasks, catalogue.measures)
    return load_study(write("name: s\nmodel: {pooling: cls}\ntasks: [parity]\nvariants: [odd]"), None, both)


def test_a_build_that_needs_real_numbers_is_a_warning(write: Callable[[str], Path], catalogue: Catalogue) -> None:
    def build(options: Options, shape: ModelShape) -> Backbone:
        torch.ones(1).item()
        return Backbone()

    [warning] = plan_with_build(write, catalogue, build).warnings
    assert "odd on parity could not be tried before the run: " in warning.message


def test_planning_leaves_random_numbers_alone(write: Callable[[str], Path], catalogue: Catalogue) -> None:
    def build(options: Options, shape: ModelShape) -> Backbone:
        torch.rand(1, device="cpu")
        return Backbone()

    before = torch.get_rng_state()
    plan_with_build(write, catalogue, build)
    assert torch.equal(before, torch.get_rng_state())


def test_a_cls_token_takes_a_position(write: Callable[[str], Path], catalogue: Catalogue) -> None:
    def build(options: Options, shape: ModelShape) -> Backbone:
        raise ValueError(f"the length is {shape.max_length}")

    with pytest.raises(StudyError, match=r"the length is 65 \(odd on parity, 64 tokens\)"):
        plan_with_build(write, catalogue, build)


def test_a_warm_up_that_never_ends_is_a_warning(load: Load) -> None:
    plan = load("name: s\ntraining: {steps: 10, warmup_steps: 20}\ntasks: [parity]\nvariants: [full]")
    [warning] = plan.warnings
    assert (warning.line, warning.path) == (2, "training.warmup_steps")
    assert "warmup_steps (20) exceeds steps (10)" in warning.message


def test_a_study_that_only_measures_has_no_warm_up_warning(load: Load) -> None:
    assert load("name: s\ntraining: {steps: 0, warmup_steps: 20}\ntasks: [parity]\nvariants: [full]").warnings == ()


def test_the_plan_keeps_the_file_and_its_text(load: Load, tmp_path: Path) -> None:
    text = "name: s # a remark\ntasks: [parity]\nvariants: [full]\nlimits: {seconds: 9}\n"
    plan = load(text)
    assert (plan.file, plan.text, plan.profile) == (tmp_path / "study.yaml", text, "full")
    assert plan.runs[0].limits.seconds == 9
    assert plan.study.tasks[0].name == "parity"


def test_one_task_at_two_lengths_is_two_tasks(load: Load) -> None:
    plan = load("name: s\ntasks: [parity, {name: parity, options: {max_length: 128}}]\nvariants: [full]")
    assert [run.task_options.max_length for run in plan.runs] == [64, 128]  # type: ignore[attr-defined]


def test_a_default_that_does_not_read_as_json_is_no_mistake(load: Load) -> None:
    plan = load(SMALL + "      - {name: hashing, options: {root: there}}\n      - hashing")
    assert [run.variant_options.root for run in plan.runs] == [Path("there"), Path("here")]  # type: ignore[attr-defined]


def test_a_measure_of_a_trained_model_is_warned_of_where_nothing_is_trained(load: Load) -> None:
    text = "name: s\ntraining: {steps: 0}\nmeasure: [speed, spectrum]\ntasks: [parity]\nvariants: [full]"
    [warning] = load(text).warnings
    assert (warning.line, warning.path) == (2, "training.steps")
    assert warning.message.startswith("spectrum on parity will describe a model that was never trained")
    assert load(text.replace("steps: 0", "steps: 1")).warnings == ()
