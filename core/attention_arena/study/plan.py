"""What a study comes to: the runs it plans, resolved and checked, before anything is prepared or run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from attention_arena.study.problems import Problem
from attention_arena.study.schema import Limits, Study, TrainingSettings
from attention_arena.task import Task
from attention_arena.variant import ModelSettings, Options, Variant


@dataclass(frozen=True)
class PlannedMeasure:
    """A measure with its options."""

    name: str
    options: Options
    needs_training: bool = False
    """Whether its rows mean something of a trained model alone."""


@dataclass(frozen=True)
class Reference:
    """The study's baseline as a run is measured beside it."""

    variant: Variant
    options: Options
    label: str
    model: ModelSettings


@dataclass(frozen=True)
class Match:
    """How near a run comes to the baseline's budget, and the width of the feed-forward layer that it takes."""

    what: Literal["parameters", "flops"]
    to: str
    """The baseline's label."""
    d_ff_before: int
    d_ff: int
    gap: float
    """(count - the baseline's count) / the baseline's count, of what variants differ in: backbone and positions."""

    @property
    def words(self) -> str:
        """`matched parameters to softmax: d_ff 128 -> 96 (+0.3 %)`."""
        named = {"parameters": "parameters", "flops": "FLOPs"}[self.what]
        change = "stays" if self.d_ff == self.d_ff_before else f"-> {self.d_ff}"
        return f"matched {named} to {self.to}: d_ff {self.d_ff_before} {change} ({100 * self.gap:+.1f} %)"


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
    """Why the variant cannot do the task (`linformer cannot do causal attention, which language_model needs`), or why
    its budget cannot be the baseline's."""
    reference: Reference | None = None
    """The baseline on the same task, for a run that measures; None for the baseline and where it cannot do the task."""
    match: Match | None = None
    """How the run's budget was made the baseline's; None for the baseline, and in a study of equal shapes."""

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
