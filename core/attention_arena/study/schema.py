"""The study file's schema; `studies/README.md` explains it to its users."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from attention_arena.variant import Options

FOLDER_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
"""What a study or a profile may be called, because it names a folder."""
LARGEST_SEED = 2**32 - 1
"""NumPy's generators take no larger one."""


def folder_name_fault(name: str) -> str | None:
    """Return why `name` cannot name a folder of results, or None."""
    if re.fullmatch(FOLDER_NAME.rstrip("$"), name) and len(name) <= 80:
        return None
    return (
        "a name becomes a folder of the results: at most 80 letters, digits, '_', '-' and '.', "
        f"beginning with a letter or a digit; got {name!r}"
    )


class TrainingSettings(Options):
    """The `training:` block: one recipe for all variants."""

    model_config = ConfigDict(allow_inf_nan=False)

    steps: int = Field(1000, ge=0, description="optimiser steps; 0 trains nothing and only measures")
    batch_size: int = Field(32, ge=1, description="sequences per step")
    micro_batch_size: int | None = Field(None, ge=1, description="sequences at a time; the effective batch stays")
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate of AdamW")
    schedule: Literal["constant", "linear", "cosine", "inverse_sqrt"] = Field(
        "cosine", description="decay after the linear warm-up"
    )
    warmup_steps: int = Field(0, ge=0, description="steps of linear warm-up from 0")
    weight_decay: float = Field(
        0.0, ge=0, description="AdamW's decoupled weight decay; not on norms, biases, embeddings"
    )
    beta1: float = Field(0.9, ge=0, lt=1, description="AdamW's decay of the mean of gradients")
    beta2: float = Field(0.98, ge=0, lt=1, description="AdamW's decay of the mean of squared gradients")
    epsilon: float = Field(1e-9, gt=0, description="AdamW's addend of the denominator")
    clip_norm: float | None = Field(1.0, gt=0, description="largest gradient norm; null clips nothing")
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="autocast precision of the forward pass")
    compile: bool = Field(False, description="run the model through torch.compile")
    evaluate_every: int = Field(200, ge=1, description="steps between validations")
    evaluate_batch_size: int | None = Field(
        None, ge=1, description="sequences at a time in evaluation; null: batch_size"
    )
    validation_examples: int | None = Field(
        None, ge=1, description="first examples of validation to use; null uses all"
    )

    @model_validator(mode="after")
    def _micro_batches_fill_the_batch(self) -> TrainingSettings:
        if self.micro_batch_size is not None and self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"micro_batch_size must divide batch_size ({self.batch_size}), got {self.micro_batch_size}"
            )
        return self


class Limits(Options):
    """The `limits:` block: what one run may take before it is ended."""

    model_config = ConfigDict(allow_inf_nan=False)

    seconds: float | None = Field(None, gt=0, description="wall time of one run")
    memory_gib: float | None = Field(None, gt=0, description="resident memory of one run, in GiB")


class TaskEntry(Options):
    """One entry of `tasks:`; a bare name is short for it."""

    name: str = Field(description="the task, as `arena list` names it")
    options: dict[str, Any] = Field({}, description="options of the task")
    model: dict[str, Any] = Field({}, description="overrides of the study's model block for this task")
    training: dict[str, Any] = Field({}, description="overrides of the study's training block for this task")
    measure: list[str | dict[str, dict[str, Any]]] | None = Field(
        None, description="measures for this task in place of the study's; [] takes none"
    )


class VariantEntry(Options):
    """One entry of `variants:`; a bare name is short for it."""

    name: str = Field(description="the variant, as `arena list` names it")
    label: str | None = Field(None, min_length=1, description="how tables name it; the name and its options if absent")
    baseline: bool = Field(False, description="the variant that others are compared with; at most one")
    options: dict[str, Any] = Field({}, description="options of the variant")
    sweep: dict[str, list[Any]] = Field(
        {}, description="option, model.KEY or training.KEY -> values; one entry for each combination"
    )
    model: dict[str, Any] = Field({}, description="overrides of the model block; marked as a departure in the report")
    training: dict[str, Any] = Field({}, description="overrides of the training block")


class Study(Options):
    """A study file."""

    name: str = Field(description="folder of the results", json_schema_extra={"pattern": FOLDER_NAME, "maxLength": 80})
    question: str = Field("", description="what the study asks; the report opens with it")
    profile: str | None = Field(None, description="the profile to use when none is asked for")
    seeds: list[Annotated[int, Field(ge=0, le=LARGEST_SEED)]] = Field(
        [0], min_length=1, description="one run of each pair for each seed"
    )
    model: dict[str, Any] = Field({}, description="shared shape: ModelSettings")
    match: Literal["shape", "parameters", "flops"] = Field(
        "shape",
        description="what all variants have in common: the shape, or, by d_ff, the baseline's parameters or FLOPs",
    )
    training: dict[str, Any] = Field({}, description="shared recipe: TrainingSettings")
    measure: list[str | dict[str, dict[str, Any]]] = Field([], description="measures, each with its options")
    limits: Limits = Field(Limits(), description="what one run may take before it is ended")
    tasks: list[TaskEntry] = Field(min_length=1, description="what to learn; a bare name is short for {name: ...}")
    variants: list[VariantEntry] = Field(
        min_length=1, description="what to compare; a bare name is short for {name: ...}"
    )
    profiles: dict[str, dict[str, Any]] = Field({}, description="name -> keys merged over the study's own")

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, name: str) -> str:
        fault = folder_name_fault(name)
        if fault is not None:
            raise ValueError(fault)
        return name
