"""Check one study, a profile laid over it or none, and resolve it into runs."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from attention_arena.catalogue import Catalogue
from attention_arena.study.expand import (
    BLOCKS,
    ChosenTask,
    ChosenVariant,
    brief,
    choose_measures,
    choose_tasks,
    choose_variants,
)
from attention_arena.study.fit import Fit, try_build, why_unsupported
from attention_arena.study.match import check_match
from attention_arena.study.merge import merge
from attention_arena.study.plan import PlannedMeasure, PlannedRun, Reference
from attention_arena.study.schema import Limits, Study, TrainingSettings
from attention_arena.study.validation import Problems, validate
from attention_arena.study.yaml_lines import Found
from attention_arena.variant import ModelSettings, Options

Builds = dict[tuple[str, str, str, str], Fit]
"""What was built already, by variant, options, shape and the task's needs."""


@dataclass(frozen=True)
class _Pair:
    """A task and a variant with the blocks that hold for the two."""

    task: ChosenTask
    variant: ChosenVariant
    shared: Found
    """The model block without the variant's overrides."""
    model: Found
    training: Found


def check(
    tree: Found, catalogue: Catalogue, problems: Problems, builds: Builds
) -> tuple[Study | None, tuple[PlannedRun, ...]]:
    """Return the study and its runs, as far as they can be told; what is wrong goes to `problems`."""
    study = validate(Study, tree, problems)
    _check_seeds(tree, problems)
    for key, model in BLOCKS.items():
        for owner in (tree, *tree.mapping_list("tasks"), *tree.mapping_list("variants")):
            validate(model, owner.mapping(key), problems, f"{key} key", fields_only=True)
    tasks = choose_tasks(tree, catalogue, problems)
    variants = choose_variants(tree, catalogue, problems)
    measures = choose_measures(tree, catalogue, problems)
    _check_baseline(tree, variants, problems)
    _check_labels(variants, problems)
    check_match(tree, variants, problems)
    pairs = [_pair(tree, task, variant) for task in tasks for variant in variants]
    _check_distinct(pairs, problems)
    planned = [run for pair in pairs if (run := _plan(pair, measures, problems, builds)) is not None]
    if study is None:
        return None, ()
    references = {run.task_key: _reference(run) for run in planned if run.baseline and run.unsupported is None}
    beside = [run if run.baseline else replace(run, reference=references.get(run.task_key)) for run in planned]
    return study, tuple(each for run in beside for each in _seeded(run, study))


def _pair(tree: Found, task: ChosenTask, variant: ChosenVariant) -> _Pair:
    shared = merge(tree.mapping("model"), task.entry.mapping("model"))
    training = merge(tree.mapping("training"), task.entry.mapping("training"))
    return _Pair(task, variant, shared, merge(shared, variant.model), merge(training, variant.training))


def _plan(pair: _Pair, measures: tuple[PlannedMeasure, ...], problems: Problems, builds: Builds) -> PlannedRun | None:
    """Return a pair's run, its seed and limits still open, or None where its settings do not hold."""
    task, variant = pair.task, pair.variant
    model = validate(ModelSettings, pair.model, problems, "model key")
    training = validate(TrainingSettings, pair.training, problems, "training key")
    if model is None or training is None:
        return None
    _check_warmup(pair, training, problems)
    measures = measures if task.measures is None else task.measures
    _check_trained(pair, training, measures, problems)
    unsupported = why_unsupported(variant.variant, task.task, task.needs)
    if unsupported is None:
        fit = _fit(pair, model, builds)
        _report_fit(fit, pair, problems)
        model = fit.model
    return PlannedRun(
        task=task.task,
        task_options=task.options,
        variant=variant.variant,
        variant_options=variant.options,
        label=variant.label,
        baseline=variant.baseline,
        model=model,
        training=training,
        seed=0,
        measures=measures,
        limits=Limits(),
        departs_from_shape=_departures(pair, model),
        unsupported=unsupported,
    )


def _reference(run: PlannedRun) -> Reference:
    return Reference(run.variant, run.variant_options, run.label, run.model)


def _seeded(run: PlannedRun, study: Study) -> list[PlannedRun]:
    """Return the run for each seed; the first one measures, beside the baseline."""
    first, *others = study.seeds
    run = replace(run, limits=study.limits, reference=run.reference if run.measures else None)
    return [replace(run, seed=first)] + [replace(run, seed=seed, measures=(), reference=None) for seed in others]


def _fit(pair: _Pair, model: ModelSettings, builds: Builds) -> Fit:
    task, variant = pair.task, pair.variant
    key = (variant.variant.name, variant.options.model_dump_json(), model.model_dump_json(), repr(task.needs))
    if key not in builds:
        builds[key] = try_build(variant.variant, variant.options, model, task.needs)
    return builds[key]


def _report_fit(fit: Fit, pair: _Pair, problems: Problems) -> None:
    task, variant = pair.task, pair.variant
    if fit.warning is not None:
        problems.warn(variant.entry, f"{variant.label} on {task.task.name} {fit.warning}")
    if fit.problem is not None:
        blamed = fit.problem.split(" ", 1)[0]
        at = variant.given.child(blamed) or pair.model.child(blamed) or variant.entry
        problems.add(at, f"{fit.problem} ({variant.label} on {task.task.name}, {task.needs.max_length} tokens)")


def _departures(pair: _Pair, model: ModelSettings) -> tuple[str, ...]:
    """Return `key=value` for each field of a run's shape that is not the shared one.

    Where the shared block does not hold by itself, whatever the variant's entry sets is a departure.
    """
    shared = validate(ModelSettings, pair.shared, Problems(Path()))
    return tuple(
        f"{key}={brief(value)}"
        for key, value in model.model_dump(mode="json").items()
        if (pair.variant.model.child(key) is not None if shared is None else value != getattr(shared, key))
    )


def _check_warmup(pair: _Pair, training: TrainingSettings, problems: Problems) -> None:
    if not 0 < training.steps < training.warmup_steps:
        return
    message = (
        f"warmup_steps ({training.warmup_steps}) exceeds steps ({training.steps}) on {pair.task.task.name}, "
        "so the learning rate never reaches its peak"
    )
    problems.warn(pair.training.child("warmup_steps") or pair.training, message)


def _check_trained(
    pair: _Pair, training: TrainingSettings, measures: tuple[PlannedMeasure, ...], problems: Problems
) -> None:
    names = [measure.name for measure in measures if measure.needs_training]
    if training.steps or not names:
        return
    message = (
        f"{', '.join(names)} on {pair.task.task.name} will describe a model that was never trained, because steps is 0"
    )
    problems.warn(pair.training.child("steps") or pair.training, message)


def _check_seeds(tree: Found, problems: Problems) -> None:
    seeds = tree.child("seeds")
    met: set[int] = set()
    for seed in [] if seeds is None else seeds.elements():
        if not isinstance(seed.value, int) or isinstance(seed.value, bool):
            continue
        if seed.value in met:
            problems.add(seed, f"seed {seed.value} stands twice; the same run twice is no second sample")
        met.add(seed.value)


def _check_baseline(tree: Found, variants: list[ChosenVariant], problems: Problems) -> None:
    claims = [
        flag for entry in tree.mapping_list("variants") if (flag := entry.child("baseline")) and flag.value is True
    ]
    for second in claims[1:]:
        problems.add(second, f"a second baseline; {claims[0].path} on line {claims[0].line} is one already")
    swept = [variant for variant in variants if variant.baseline]
    if len(claims) == 1 and len(swept) > 1:
        problems.add(claims[0], f"the baseline must be one variant, but its sweep makes {len(swept)}")


def _check_labels(variants: list[ChosenVariant], problems: Problems) -> None:
    met: dict[str, ChosenVariant] = {}
    for variant in variants:
        first = met.setdefault(variant.label, variant)
        if first is variant or _same_choice(first, variant):
            continue
        message = (
            f"the label {variant.label!r} stands twice, first on line {first.entry.line}; give one another `label`"
        )
        problems.add(variant.entry.child("label") or variant.entry, message)


def _same_choice(first: ChosenVariant, second: ChosenVariant) -> bool:
    """Whether two entries come to the same runs, which is a problem of its own."""
    return (
        first.variant is second.variant
        and first.options == second.options
        and first.model.plain() == second.model.plain()
        and first.training.plain() == second.training.plain()
    )


def _check_distinct(pairs: list[_Pair], problems: Problems) -> None:
    """Note each entry that resolves to runs that another one has already."""
    met: dict[tuple[str, ...], _Pair] = {}
    for pair in pairs:
        task, variant = pair.task, pair.variant
        options = (task.options.model_dump_json(), variant.options.model_dump_json())
        blocks = (_resolved(ModelSettings, pair.model), _resolved(TrainingSettings, pair.training))
        first = met.setdefault((task.task.name, variant.variant.name, *options, *blocks), pair)
        if first.variant is not variant:
            _report_repeat(variant.entry, first.variant.entry, variant.label, problems)
        elif first.task is not task:
            _report_repeat(task.entry, first.task.entry, task.task.name, problems)


def _resolved(model: type[Options], block: Found) -> str:
    """Return a block with its defaults as JSON; as it stands where it does not hold."""
    settings = validate(model, block, Problems(Path()))
    return json.dumps(block.plain(), sort_keys=True) if settings is None else settings.model_dump_json()


def _report_repeat(entry: Found, first: Found, label: str, problems: Problems) -> None:
    if entry is first:
        problems.add(entry, f"two combinations of this sweep come to the same runs ({label})")
    else:
        problems.add(entry, f"{label} comes to the same runs as {first.path} on line {first.line}")
