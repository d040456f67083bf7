"""The singular values of attention matrices: how much of them a few directions hold.

Wang et al. (2020, section 3) plot cumulative normalised singular values of a trained Transformer, averaged over heads,
and read low rank from a long tail. Here the same curve stands beside references that have learnt nothing.

Letters beside the usual ones: L layers, P places on the curve, N sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from pydantic import Field
from torch import Tensor

from attention_arena.measure import Measure, Measurement, Subject
from attention_arena.measures.diagnostics.attended import Attended, SequencesOptions, served, trained_and_untrained
from attention_arena.measures.diagnostics.by_head import filled, rows_by_head
from attention_arena.measures.diagnostics.concentration import ROUNDING
from attention_arena.measures.diagnostics.references import (
    NoReferenceError,
    random_logits,
    random_queries_and_keys,
    shuffled_rows,
    uniform,
)

PLACES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 70, 80, 90, 100)
"""Where the curve is read off, in percent of the singular values."""
QUARTER = 25
"""Where heads are compared one by one: the paper's index 128 of 512."""

Reference = Callable[[Tensor], Tensor]
"""Weights (H, T, S) -> weights of no meaning."""


class SpectrumOptions(SequencesOptions):
    """Options of the measure."""

    rank_mass: float = Field(0.9, gt=0.0, lt=1.0, description="share of the sum of singular values that makes a rank")


def singular_values(weights: Tensor) -> Tensor:
    """Return the singular values (..., min(T, S)) of weights (..., T, S), from the largest down, in float64."""
    values: Tensor = torch.linalg.svdvals(weights.double())
    return values


def cumulative(values: Tensor, places: Sequence[int] = PLACES) -> Tensor:
    """Return how much of their sum the first `places` percent of singular values (..., n) hold, (..., P) in percent.

    Between two values the curve is straight, so that sequences of different lengths can be averaged.
    """
    n = values.shape[-1]
    total = values.sum(-1, keepdim=True)
    curve = torch.cat([torch.zeros_like(total), values.cumsum(-1)], dim=-1) / total.where(total > 0, 1.0)
    at = torch.tensor(places, dtype=values.dtype, device=values.device) * n / 100
    before = at.long().clamp(max=n - 1)
    left, right = curve[..., before], curve[..., before + 1]
    return 100 * (left + (at - before) * (right - left))


def effective_rank(values: Tensor, mass: float) -> Tensor:
    """Return the fewest singular values (..., n) that hold `mass` of their sum, (...,) in percent of n."""
    total = values.sum(-1, keepdim=True)
    short = (values.cumsum(-1) < (mass - ROUNDING) * total).sum(-1)
    return 100.0 * (short + (total.squeeze(-1) > 0)) / values.shape[-1]


def measure_spectrum(options: SpectrumOptions, subject: Subject) -> Sequence[Measurement]:
    """Return the curve of each layer, its value at a quarter and the effective rank of each head; and references'."""
    blank = Measurement("attention_spectrum", "trained", None, "%", samples=0)

    def rows() -> Iterator[Measurement]:
        for phase, sequences in trained_and_untrained(options, subject):
            seen = list(sequences)
            yield from _rows(options, blank._replace(phase=phase), [each.signed for each in seen])
            if phase == "trained":
                yield from _references(options, subject, blank, seen)

    return served([blank, blank._replace(measure="attention_rank")], lambda: list(rows()))


def _references(
    options: SpectrumOptions, subject: Subject, blank: Measurement, sequences: Sequence[Attended]
) -> Iterator[Measurement]:
    generator = torch.Generator().manual_seed(subject.seed)
    d_head = subject.contender.settings.d_head
    references: dict[str, Reference] = {
        "random queries and keys": lambda weights: random_queries_and_keys(weights, d_head, generator),
        "random logits": lambda weights: random_logits(weights, generator),
        "shuffled rows": lambda weights: shuffled_rows(weights, generator),
        "uniform": uniform,
    }
    for name, reference in references.items():
        row = blank._replace(phase=f"null: {name}")
        try:
            # Layers are heads of their own to a reference.
            drawn = [reference(each.signed.flatten(0, 1)).view(each.signed.shape) for each in sequences]
        except NoReferenceError as reason:
            yield row.without("unsupported", str(reason))
        else:
            yield from _rows(options, row, drawn)


def _rows(options: SpectrumOptions, blank: Measurement, weights: Sequence[Tensor]) -> Iterator[Measurement]:
    """Yield the rows of one phase from the weights (L, H, T, S) of each sequence."""
    values = [singular_values(each) for each in weights]
    curves = torch.stack([cumulative(each) for each in values]).cpu()  # (N, L, H, P)
    for layer, of_layer in enumerate(curves.unbind(1)):
        for place, at_place in zip(PLACES, of_layer.mean(1).unbind(-1), strict=True):
            yield filled(blank._replace(layer=layer, position=place), at_place.tolist(), most=100.0)
    quarter = rows_by_head(blank._replace(position=QUARTER), list(curves[..., PLACES.index(QUARTER)]), most=100.0)
    yield from quarter[1:]
    ranks = [effective_rank(each, options.rank_mass) for each in values]
    yield from rows_by_head(blank._replace(measure="attention_rank"), ranks, most=100.0)


SPECTRUM = Measure(
    name="attention_spectrum",
    summary="singular values of attention matrices, cumulative and normalised, beside references that learnt nothing;"
    " position: percent of the singular values",
    options=SpectrumOptions,
    run=measure_spectrum,
    needs_training=True,
)
