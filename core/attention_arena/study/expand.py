"""From a study's entries to things in the catalogue with checked options: tasks, measures, and variants with sweeps."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from attention_arena.catalogue import Catalogue
from attention_arena.errors import ConfigError
from attention_arena.spelling import unknown_name
from attention_arena.study.merge import merge
from attention_arena.study.plan import PlannedMeasure
from attention_arena.study.schema import TrainingSettings
from attention_arena.study.validation import Problems, json_schema, shown, validate
from attention_arena.study.yaml_lines import Found
from attention_arena.task import Task, TaskNeeds
from attention_arena.variant import ModelSettings, Options, Variant

MOST_COMBINATIONS = 1000
BLOCKS: Mapping[str, type[Options]] = {"model": ModelSettings, "training": TrainingSettings}


@dataclass(frozen=True)
class ChosenTask:
    """An entry of `tasks`, resolved."""

    entry: Found
    task: Task
    options: Options
    needs: TaskNeeds
    measures: tuple[PlannedMeasure, ...] | None
    """Its own in place of the study's, or None."""


@dataclass(frozen=True)
class ChosenVariant:
    """An entry of `variants`, or one combination of its sweep, resolved."""

    entry: Found
    variant: Variant
    options: Options
    given: Found
    """The options as the file gives them, sweep included."""
    label: str
    baseline: bool
    model: Found
    """Overrides of the model block, sweep included."""
    training: Found


def choose_tasks(tree: Found, catalogue: Catalogue, problems: Problems) -> list[ChosenTask]:
    """Resolve the entries of `tasks`; what is wrong goes to `problems`."""
    chosen = []
    for entry in tree.mapping_list("tasks"):
        name = _name(entry)
        if name is None:
            continue
        try:
            task = catalogue.task(str(name.value))
        except ConfigError as error:
            problems.add(name, str(error))
            continue
        given = entry.mapping("options")
        options = validate(task.options, given, problems, f"{task.name} option")
        if options is None:
            continue
        try:
            needs = task.needs(options)
        except ValueError as error:
            problems.add(given, str(error))
            continue
        own = entry.child("measure")
        measures = None if own is None or own.value is None else choose_measures(entry, catalogue, problems)
        chosen.append(ChosenTask(entry, task, options, needs, measures))
    return chosen


def choose_measures(owner: Found, catalogue: Catalogue, problems: Problems) -> tuple[PlannedMeasure, ...]:
    """Resolve the entries of `measure` of a study or of one of its tasks."""
    chosen: list[PlannedMeasure] = []
    for entry in owner.mapping_list("measure"):
        if len(entry.items()) != 1:
            problems.add(entry, f"expected one measure, `name: {{options}}`, got {shown(entry.plain())}")
            continue
        [(name, given)] = entry.items()
        try:
            measure = catalogue.measure(name)
        except ConfigError as error:
            problems.add(given, str(error))
            continue
        options = validate(measure.options, given, problems, f"{name} option")
        if options is None:
            continue
        planned = PlannedMeasure(name, options, measure.needs_training)
        if planned in chosen:
            problems.add(entry, f"measure {name!r} stands twice with the same options")
        chosen.append(planned)
    return tuple(chosen)


def choose_variants(tree: Found, catalogue: Catalogue, problems: Problems) -> list[ChosenVariant]:
    """Resolve the entries of `variants`, each combination of a sweep on its own."""
    chosen = []
    for entry in tree.mapping_list("variants"):
        name = _name(entry)
        if name is None:
            continue
        try:
            variant = catalogue.variant(str(name.value))
        except ConfigError as error:
            problems.add(name, str(error))
            continue
        for swept in _combinations(entry, variant, problems):
            one = _choose(entry, variant, swept, problems)
            if one is not None:
                chosen.append(one)
    return chosen


def _choose(entry: Found, variant: Variant, swept: Mapping[str, Found], problems: Problems) -> ChosenVariant | None:
    blocks: dict[str, dict[str, Found]] = {"options": {}, "model": {}, "training": {}}
    for axis, value in swept.items():
        block, _, key = axis.rpartition(".")
        blocks[block or "options"][key] = value
    given, model, training = (
        merge(base, Found(values, base.line, base.path))
        for block, values in blocks.items()
        if (base := entry.mapping(block))
    )
    options = validate(variant.options, given, problems, f"{variant.name} option")
    if options is None:
        return None
    baseline = entry.child("baseline")
    return ChosenVariant(
        entry=entry,
        variant=variant,
        options=options,
        given=given,
        label=_label(entry, variant, options, swept),
        baseline=baseline is not None and baseline.value is True,
        model=model,
        training=training,
    )


def _combinations(entry: Found, variant: Variant, problems: Problems) -> list[dict[str, Found]]:
    """Return the product of the sweep's axes, in the file's order; one empty combination without a sweep."""
    sweep = entry.child("sweep")
    if sweep is not None and sweep.value == {}:
        problems.add(sweep, "a sweep over nothing; name an option and its values, or leave it out")
    axes = {
        axis: _distinct(values, problems)
        for axis, values in entry.mapping("sweep").items()
        if _axis_is_sound(axis, values, entry, variant, problems)
    }
    n_combinations = math.prod(len(values) for values in axes.values())
    if n_combinations > MOST_COMBINATIONS:
        message = f"the sweep has {n_combinations} combinations, and at most {MOST_COMBINATIONS} are allowed"
        problems.add(entry.mapping("sweep"), message)
        return []
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def _axis_is_sound(axis: str, values: Found, entry: Found, variant: Variant, problems: Problems) -> bool:
    """Whether an axis names a known key, has values, and is not set as well."""
    block, _, key = axis.rpartition(".")
    if block in BLOCKS:
        kind, known = f"{block} key", [f"{block}.{each}" for each in BLOCKS[block].model_fields]
    else:
        kind, known = f"{variant.name} option", list(json_schema(variant.options).get("properties", {}))
    where = block or "options"
    if axis not in known:
        problems.add(values, unknown_name(kind, axis, known))
    elif entry.mapping(where).child(key) is not None:
        problems.add(values, f"{key} is swept and also set in {where}; leave one of the two out")
    elif values.value == []:
        problems.add(values, "a sweep over nothing; give at least one value")
    else:
        return isinstance(values.value, list)
    return False


def _distinct(values: Found, problems: Problems) -> list[Found]:
    """Return an axis's values, each once, and note those that stand twice."""
    seen: dict[str, Found] = {}
    for value in values.elements():
        text = json.dumps(value.plain(), sort_keys=True)
        if text in seen:
            problems.add(value, f"{shown(value.plain())} stands twice in this sweep")
        seen.setdefault(text, value)
    return list(seen.values())


def _label(entry: Found, variant: Variant, options: Options, swept: Mapping[str, Found]) -> str:
    """Return the entry's label or the variant's name, with the options that tell it from others."""
    own = entry.child("label")
    labelled = own is not None and isinstance(own.value, str)
    values: dict[str, Any] = options.model_dump(mode="json")
    parts = []
    for key, field in type(options).model_fields.items():
        changed = field.is_required() or getattr(options, key) != field.get_default(call_default_factory=True)
        if key in swept or (changed and not labelled):
            parts.append(f"{key}={brief(values[key])}")
    parts += [f"{axis}={brief(value.plain())}" for axis, value in swept.items() if "." in axis]
    name = str(own.value) if own is not None and labelled else variant.name
    return f"{name} ({', '.join(parts)})" if parts else name


def brief(value: Any) -> str:
    """Return a setting's value as labels and departures show it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _name(entry: Found) -> Found | None:
    name = entry.child("name")
    return name if name is not None and isinstance(name.value, str) else None
