"""Every variant that is installed, matched on tasks of both directions, against counts of the models to be run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from attention_arena.catalogue import load_catalogue
from attention_arena.flop_counter import count_flops
from attention_arena.model import SequenceModel, build_model
from attention_arena.runs.synthetic import synthetic_batch
from attention_arena.study import Plan, PlannedRun, load_study
from attention_arena.study.fit import why_unsupported
from attention_arena.task import TaskData

CATALOGUE = load_catalogue()
TASKS: dict[str, dict[str, Any]] = {
    "retrieval": {"max_length": 64, "n_train": 8, "n_validation": 4, "n_test": 4},
    "language_model": {"length": 64, "train_bytes": 4000, "validation_bytes": 500, "test_bytes": 500},
}
"""A pair of padded sequences with a head whose width depends on the model's, and causal text."""
SHORT: dict[str, dict[str, Any]] = {"transformer_xl": {"memory": 8, "segment_length": 16}}
"""Where a variant's first `check_options` make attention alone dearer than the baseline's whole."""
VARIANTS = sorted(name for name, variant in CATALOGUE.variants.items() if not variant.reference and name != "softmax")
PAIRS = [
    (variant, task)
    for task, options in TASKS.items()
    for variant in VARIANTS
    if why_unsupported(
        CATALOGUE.variant(variant),
        CATALOGUE.task(task),
        CATALOGUE.task(task).needs(CATALOGUE.task(task).options(**options)),
    )
    is None
]


def study(match: str) -> dict[str, Any]:
    others = [
        {"name": name, "options": SHORT.get(name, dict(CATALOGUE.variant(name).check_options[0]))} for name in VARIANTS
    ]
    return {
        "name": "budgets",
        "match": match,
        "model": {"d_model": 32, "n_layers": 2, "d_ff": 128},
        "tasks": [{"name": name, "options": options} for name, options in TASKS.items()],
        "variants": [{"name": "softmax", "baseline": True}, *others],
    }


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Plan]:
    folder = tmp_path_factory.mktemp("studies")
    planned = {}
    for match in ("parameters", "flops"):
        path = folder / f"{match}.yaml"
        path.write_text(yaml.safe_dump(study(match)))
        planned[match] = load_study(path, catalogue=CATALOGUE)
    return planned


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TaskData]:
    folder: Path = tmp_path_factory.mktemp("data")
    tasks = {name: CATALOGUE.task(name) for name in TASKS}
    return {name: task.load(task.options(**TASKS[name]), folder) for name, task in tasks.items()}


def planned_run(plan: Plan, variant: str, task: str) -> PlannedRun:
    return next(run for run in plan.runs if (run.variant.name, run.task.name) == (variant, task))


def built(run: PlannedRun, data: TaskData) -> SequenceModel:
    torch.manual_seed(0)
    return build_model(run.variant, run.variant_options, run.model, data)


def parameters(run: PlannedRun, data: TaskData) -> int:
    return sum(parameter.numel() for parameter in built(run, data).parameters())


def flops(run: PlannedRun, data: TaskData) -> int:
    """Those of one training forward of the whole model, head included, as a run's record has them."""
    model, batch = built(run, data).train(), synthetic_batch(data, 1, data.max_length, 0, torch.device("cpu"))
    with torch.no_grad():
        return count_flops(lambda: data.objective.score(model.head, model(batch).hidden, batch))


COUNTS = {"parameters": (parameters, 0.01), "flops": (flops, 0.02)}


@pytest.mark.parametrize(("variant", "task"), PAIRS)
@pytest.mark.parametrize("match", sorted(COUNTS))
def test_a_matched_model_has_the_baselines_budget(
    plans: dict[str, Plan], data: dict[str, TaskData], match: str, variant: str, task: str
) -> None:
    count, tolerance = COUNTS[match]
    baseline, run = (planned_run(plans[match], name, task) for name in ("softmax", variant))
    assert run.unsupported is None
    assert run.match is not None
    own, theirs = count(run, data[task]), count(baseline, data[task])
    assert abs(own - theirs) <= tolerance * theirs
    assert abs(own - theirs) <= abs(run.match.gap) * theirs  # The head, which both have, only brings them nearer.


def test_some_variant_is_given_another_width_in_each_study(plans: dict[str, Plan]) -> None:
    for plan in plans.values():
        assert any(run.match is not None and run.match.d_ff != run.match.d_ff_before for run in plan.runs)
