"""What a study comes to: the runs it plans, resolved and checked, before anything is prepared or run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from attention_arena.study.problems import Problem
from attention_arena.study.schema import Limits, Study, TrainingSettings
from attention_arena.task import Task
from attention_arena.variant import ModelSettings, Options, Variant


@dataclass(frozen=True)
class PlannedMeasure:
    """A measure with its options."""

    name: str
    options: Options


@dataclass(frozen=True)
class Reference:
    """The study's baseline as a run is measured beside it."""

    variant: Variant
    options: Options
    label: str
    model: ModelSettings


@dataclass(frozen=True)
class PlannedRun:
    """One task, one variant with its options, one seed."""

    task: Task
    task_options: Options
    variant: Variant
    variant_options: Options
    label: str
    """The entry's own label, or the variant's name with the options that differ from its defaults."""
    baseline: bool
    model: ModelSettings
    """After the variant's own `adapt_shape`."""
    training: TrainingSettings
    seed: int
    measures: tuple[PlannedMeasure, ...]
    """Those of the study for the first seed, none for the others."""
    limits: Limits
    departs_from_shape: tuple[str, ...]
    """`key=value` for each field of `model` that the variant's entry overrides or the variant adapts."""
    unsupported: str | None
    """Why the variant cannot do the task: `linformer cannot do causal attention, which language_model needs`."""
    reference: Reference | None = None
    """The baseline on the same task, for a run that measures; None for the baseline and where it cannot do the task."""

    @property
    def task_key(self) -> tuple[str, str]:
        """The task's name and its options as JSON, by which two runs are of the same task."""
        return self.task.name, self.task_options.model_dump_json()


@dataclass(frozen=True)
class Plan:
    """A checked study under one profile."""

    study: Study
    """With the profile merged in."""
    profile: str
    """`full` for the study's own keys, with no profile merged in."""
    file: Path
    text: str
    runs: tuple[PlannedRun, ...]
    """Task by task, variant by variant, seed by seed, in the file's order."""
    warnings: tuple[Problem, ...] = ()
    """What is probably not meant, but can be run."""
