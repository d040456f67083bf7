"""Whether a variant can do a task, and the shape it then uses."""

from __future__ import annotations

from typing import NamedTuple

import torch

from attention_arena.task import Task, TaskNeeds
from attention_arena.variant import Capability, ModelSettings, ModelShape, Options, Variant

ABILITIES = {
    Capability.BIDIRECTIONAL: "attend in both directions",
    Capability.CAUSAL: "do causal attention",
    Capability.PADDING: "ignore padding",
    Capability.SEGMENT_STATE: "carry state from segment to segment",
    Capability.STEPWISE: "decode step by step",
}


class Fit(NamedTuple):
    """What came of building a variant for a task."""

    model: ModelSettings
    """After the variant's `adapt_shape`."""
    problem: str | None = None
    """Why options and shape do not fit."""
    warning: str | None = None
    """Why it could not be tried."""


def why_unsupported(variant: Variant, task: Task, needs: TaskNeeds) -> str | None:
    """Return `linformer cannot do causal attention, which language_model needs: each slot mixes ...`, or None."""
    direction = Capability.CAUSAL if needs.causal else Capability.BIDIRECTIONAL
    missing = (needs.capabilities | {direction}) - variant.supports
    if not missing:
        return None
    in_order = [capability for capability in Capability if capability in missing]
    refusal = f"{variant.name} cannot {' or '.join(map(ABILITIES.__getitem__, in_order))}, which {task.name} needs"
    reasons = [variant.lacks[capability] for capability in in_order if capability in variant.lacks]
    return ": ".join([refusal, "; ".join(reasons)]) if reasons else refusal


def shape_for(model: ModelSettings, needs: TaskNeeds) -> ModelShape:
    """Return the shape of a backbone for a task."""
    with_cls = model.pooling == "cls" and needs.pools
    return ModelShape(**model.model_dump(), max_length=needs.max_length + with_cls, causal=needs.causal)


def try_build(variant: Variant, options: Options, model: ModelSettings, needs: TaskNeeds) -> Fit:
    """Build the variant's backbone without allocating it, at the task's length."""
    shape = shape_for(model, needs)
    try:
        if variant.adapt_shape is not None:
            shape = variant.adapt_shape(options, shape)
            model = ModelSettings.model_validate(shape.model_dump(include=set(ModelSettings.model_fields)))
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            variant.build(options, shape)
    except ValueError as error:
        return Fit(model, problem=str(error))
    # A variant may compute with real numbers while it is built, which the meta device cannot; the run itself will tell.
    except (RuntimeError, NotImplementedError) as error:
        return Fit(model, warning=f"could not be tried before the run: {type(error).__name__}: {error}")
    return Fit(model)
