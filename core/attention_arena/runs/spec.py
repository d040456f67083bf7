"""What a run is, resolved to the last option, and the hash that names it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from attention_arena.study.plan import Match, PlannedRun
from attention_arena.study.schema import Limits


class MeasureSpec(BaseModel):
    """A measure with all its options."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    options: dict[str, Any]


class ReferenceSpec(BaseModel):
    """The baseline beside which a run is measured, resolved."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: str
    variant_options: dict[str, Any]
    plugin: str
    plugin_version: str
    model: dict[str, Any]
    label: str


class RunSpec(BaseModel):
    """`spec.json`: everything that the child process needs to know, and everything that its result depends on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    task_version: int
    task_options: dict[str, Any]
    variant: str
    variant_options: dict[str, Any]
    plugin: str
    plugin_version: str
    model: dict[str, Any]
    training: dict[str, Any]
    seed: int
    measures: list[MeasureSpec]
    reference: ReferenceSpec | None = None
    data_hash: str | None
    arena_version: str
    # Not part of the hash: names and limits, which change no number.
    label: str
    baseline: bool
    departs_from_shape: list[str]
    match: Match | None = None
    limits: Limits
    unsupported: str | None

    @property
    def spec_hash(self) -> str:
        """SHA-256, hexadecimal, over what the result depends on."""
        unhashed = {"label", "baseline", "departs_from_shape", "match", "limits", "unsupported"}
        content = self.model_dump(mode="json", exclude=unhashed)
        if self.reference is not None:
            del content["reference"]["label"]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def run(self) -> str:
        """The run's name and folder: `<task>.<variant>.<hash8>.s<seed>`."""
        return f"{self.task}.{self.variant}.{self.spec_hash[:8]}.s{self.seed}"


def resolve(
    planned: PlannedRun, data_hash: str | None, plugins: Mapping[str, tuple[str, str]], arena_version: str
) -> RunSpec:
    """Return the spec of a planned run; `plugins` gives a variant's distribution and its version by name."""
    return RunSpec(
        task=planned.task.name,
        task_version=planned.task.version,
        task_options=planned.task_options.model_dump(mode="json"),
        variant=planned.variant.name,
        variant_options=planned.variant_options.model_dump(mode="json"),
        plugin=plugins[planned.variant.name][0],
        plugin_version=plugins[planned.variant.name][1],
        model=planned.model.model_dump(mode="json"),
        training=planned.training.model_dump(mode="json"),
        seed=planned.seed,
        measures=[
            MeasureSpec(name=measure.name, options=measure.options.model_dump(mode="json"))
            for measure in planned.measures
        ],
        reference=_reference(planned, plugins),
        data_hash=data_hash,
        arena_version=arena_version,
        label=planned.label,
        baseline=planned.baseline,
        departs_from_shape=list(planned.departs_from_shape),
        match=planned.match,
        limits=planned.limits,
        unsupported=planned.unsupported,
    )


def _reference(planned: PlannedRun, plugins: Mapping[str, tuple[str, str]]) -> ReferenceSpec | None:
    beside = planned.reference
    if beside is None:
        return None
    plugin, version = plugins[beside.variant.name]
    return ReferenceSpec(
        variant=beside.variant.name,
        variant_options=beside.options.model_dump(mode="json"),
        plugin=plugin,
        plugin_version=version,
        model=beside.model.model_dump(mode="json"),
        label=beside.label,
    )
