"""The measure `kernel_error`: FAVOR+'s error on a trained model's own queries and keys, layer by layer.

Beside it stands the error of weighing all keys alike: variance grows as exp of the square of |q + k|, so that features
can be worse than none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from attention_arena.measure import Measure, Measurement, Subject
from attention_arena.measures.diagnostics.capture import layer_inputs
from attention_arena.measures.diagnostics.examples import first_examples
from attention_arena.measures.passes import rows_or_reason
from attention_arena.statistics import mean_interval
from attention_arena.variant import Options
from attention_arena_variants.performer.attention import PerformerAttention
from attention_arena_variants.performer.error import (
    Errors,
    Exact,
    attend_exactly,
    errors_of_features,
    errors_of_uniform,
)
from attention_arena_variants.performer.projections import Distribution, draw_sets

UNITS = ("relative error", "total variation", "relative error")
"""Of the fields of `Errors`."""
OWN, UNIFORM = "own directions", "uniform weights"


class KernelErrorOptions(Options):
    """Options of the kernel error."""

    examples: int = Field(4, ge=1, description="sequences of the test split; each costs n^2 m per head and draw")
    features: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)] = Field(
        [16, 64, 256], description="numbers of random directions (m in the paper)"
    )
    distributions: Annotated[list[Distribution], Field(min_length=1)] = Field(
        ["orthogonal", "iid"], description="how directions are drawn"
    )
    redraws: int = Field(5, ge=1, description="draws of each; intervals are over them")


class Cell(NamedTuple):
    """Which directions: how they were drawn and how many; `n_features` None: none."""

    phase: str
    n_features: int | None

    def blank(self) -> list[Measurement]:
        """Return its rows, in the order of `Errors`."""
        return [
            Measurement(f"kernel_error_{name}", self.phase, None, unit, position=self.n_features)
            for name, unit in zip(Errors._fields, UNITS, strict=True)
        ]


def measure_kernel_error(options: KernelErrorOptions, subject: Subject) -> Sequence[Measurement]:
    """Return errors against softmax attention by layer, with the number of directions as `position`.

    `kernel_error_matrix` and `kernel_error_output` are relative Frobenius norms, of weights and of weights times
    values; `kernel_error_variation` is the mean total variation of a row. Phases are the distributions, each the mean
    over redraws with its t interval, the model's "own directions", and "uniform weights" on all keys. A model without
    features, or whose features define a kernel of their own, has one row, `kernel_error`, that says so.
    """
    blank = Measurement("kernel_error", "trained model", None, UNITS[0])
    layers = [layer for layer in subject.trained.modules() if isinstance(layer, PerformerAttention)]
    if not layers:
        reason = f"{subject.contender.variant.name} estimates no kernel by random features"
        return [blank.without("unsupported", reason)]
    if not layers[0].rules.kernel.estimates_softmax:
        reason = "these features define a kernel of their own and estimate no softmax; set kernel: positive"
        return [blank.without("unsupported", reason)]
    return rows_or_reason([blank], partial(_rows, options, subject))


def _rows(options: KernelErrorOptions, subject: Subject) -> list[Measurement]:
    cells = [Cell(name, m) for name in dict.fromkeys(options.distributions) for m in dict.fromkeys(options.features)]
    generator = torch.Generator().manual_seed(subject.seed)
    E = subject.contender.settings.d_head
    # The same draws for every layer and sequence, which are averaged over, so that a redraw is one observation.
    draws = {
        (cell, index): draw_sets(1, cell.phase, cell.n_features, E, generator)  # type: ignore[arg-type]
        for cell in cells
        for index in range(options.redraws)
    }
    found: dict[int, dict[tuple[Cell, int], list[Errors]]] = {}
    for layer, attention, exact in _sequences(subject, options.examples):
        for key, errors in _errors(attention, exact, draws).items():
            found.setdefault(layer, {}).setdefault(key, []).append(errors)
    return [row for layer, errors in sorted(found.items()) for row in _averaged(layer, errors)]


def _sequences(subject: Subject, examples: int) -> Iterator[tuple[int, PerformerAttention, Exact]]:
    """Yield layers and their exact attention on each sequence of the test split, padding left out."""
    causal = subject.data.objective.causal
    for batch in first_examples(subject, examples):
        with subject.autocast():
            inputs = layer_inputs(subject.trained, batch)
        for layer, (attention, x, context, *_) in enumerate(inputs):
            if not isinstance(attention, PerformerAttention):
                continue
            with torch.no_grad():
                heads = attention.heads(x.to(attention.project_in.weight.dtype))
            valid = torch.ones_like(x[..., 0], dtype=torch.bool) if context.valid is None else context.valid
            for row in range(len(x)):
                if valid[row].any():
                    query, key, value = (part[row][:, valid[row]] for part in heads)
                    yield layer, attention, attend_exactly(query, key, value, causal)


def _errors(
    attention: PerformerAttention, exact: Exact, draws: Mapping[tuple[Cell, int], Tensor]
) -> dict[tuple[Cell, int], Errors]:
    """Return the errors of one sequence under every draw, the layer's own directions and none."""
    kernel, own = attention.rules.kernel, attention.directions.current
    least = attention.rules.least / own.shape[-2]
    found = {key: errors_of_features(kernel, drawn, least, exact) for key, drawn in draws.items()}
    found[Cell(OWN, own.shape[-2]), 0] = errors_of_features(kernel, own, least, exact)
    found[Cell(UNIFORM, None), 0] = errors_of_uniform(exact)
    return found


def _averaged(layer: int, found: Mapping[tuple[Cell, int], Sequence[Errors]]) -> Iterator[Measurement]:
    """Yield a layer's rows: means over sequences, and over redraws with their interval."""
    by_cell: dict[Cell, list[list[float]]] = {}
    for (cell, _), errors in found.items():
        over_sequences = [sum(values) / len(values) for values in zip(*errors, strict=True)]
        by_cell.setdefault(cell, []).append(over_sequences)
    for cell, redraws in by_cell.items():
        for row, values in zip(cell.blank(), zip(*redraws, strict=True), strict=True):
            mean = mean_interval(values)
            yield row._replace(layer=layer, value=mean.value, low=mean.low, high=mean.high, samples=mean.n)


KERNEL_ERROR = Measure(
    name="kernel_error",
    summary="error of Performer's random features against softmax attention, by number of features",
    options=KernelErrorOptions,
    run=measure_kernel_error,
    needs_training=True,
)
