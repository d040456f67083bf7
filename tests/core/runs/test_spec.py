"""A run's name depends on what its numbers depend on, and on nothing else."""

from typing import Any

from attention_arena.runs.spec import ReferenceSpec, RunSpec
from attention_arena.study.schema import Limits


def reference(**changes: Any) -> ReferenceSpec:
    fields: dict[str, Any] = {
        "variant": "softmax",
        "variant_options": {"implementation": "fused"},
        "plugin": "attention-arena",
        "plugin_version": "0",
        "model": {"d_model": 8},
        "label": "softmax",
    }
    return ReferenceSpec(**{**fields, **changes})


def spec(**changes: Any) -> RunSpec:
    fields: dict[str, Any] = {
        "task": "toy",
        "task_version": 1,
        "task_options": {},
        "variant": "reformer",
        "variant_options": {},
        "plugin": "attention-arena",
        "plugin_version": "0",
        "model": {},
        "training": {},
        "seed": 0,
        "measures": [],
        "reference": reference(),
        "data_hash": "d",
        "arena_version": "0",
        "label": "reformer",
        "baseline": False,
        "departs_from_shape": [],
        "limits": Limits(),
        "unsupported": None,
    }
    return RunSpec(**{**fields, **changes})


def test_a_run_beside_another_baseline_is_another_run() -> None:
    naive = reference(variant_options={"implementation": "naive"})
    assert len({spec().run, spec(reference=naive).run, spec(reference=None).run}) == 3


def test_names_and_limits_change_no_run() -> None:
    renamed = spec(label="mine", limits=Limits(seconds=3), reference=reference(label="the baseline"))
    assert renamed.run == spec().run
