"""Parameters of the model, in total and by part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from attention_arena.measure import Measure, Measurement, Subject
from attention_arena.variant import Options


class ParametersOptions(Options):
    """The measure has no options."""


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Return how many numbers a model learns: by part, and in total.

    `backbone` and `head` are the modules of these names; `embedding` is everything else (token and position tables,
    CLS). A weight that the head shares with the embedding counts once, there, so the parts add up to the total.
    """
    backbone, head = model.get_submodule("backbone"), model.get_submodule("head")
    inner = {id(parameter) for part in (backbone, head) for parameter in part.parameters()}
    tokens = {id(parameter) for parameter in model.get_submodule("embedding").parameters()}
    outer = [p for p in model.parameters() if id(p) not in inner or id(p) in tokens]
    counted: set[int] = set()
    parts = {
        "embedding": _count_new(outer, counted),
        "backbone": _count_new(backbone.parameters(), counted),
        "head": _count_new(head.parameters(), counted),
    }
    return {"total": sum(parts.values()), **parts}


def _count_new(parameters: Iterable[nn.Parameter], counted: set[int]) -> int:
    """Count the parameters that no part before has, and note them."""
    new = {id(parameter): parameter.numel() for parameter in parameters if id(parameter) not in counted}
    counted.update(new)
    return sum(new.values())


def measure_parameters(options: ParametersOptions, subject: Subject) -> Sequence[Measurement]:
    """Return the parameters of the run's model, one row for the total and one for each part."""
    counts = count_parameters(subject.trained)
    return [
        Measurement("parameters", part, value, "parameters", higher_is_better=False) for part, value in counts.items()
    ]


PARAMETERS = Measure(
    name="parameters",
    summary="learned parameters, in total and of embedding, backbone and head",
    options=ParametersOptions,
    run=measure_parameters,
)
