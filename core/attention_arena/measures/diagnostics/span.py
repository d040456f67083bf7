"""How far attention must reach: the distance within which a query's keys hold most of its attention.

What a head needs, as against the span it is given (Sukhbaatar et al. 2019, Adaptive Attention Span in Transformers,
learn that span; here it is read off the weights). A window shorter than it, or a memory, would cut that head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import Field
from torch import Tensor

from attention_arena.measure import Measure, Measurement, Subject
from attention_arena.measures.diagnostics.attended import Attended, SequencesOptions, served, trained_and_untrained
from attention_arena.measures.diagnostics.by_head import rows_by_head
from attention_arena.measures.diagnostics.concentration import span_for


class SpanOptions(SequencesOptions):
    """Options of the measure."""

    mass: float = Field(0.9, gt=0.0, lt=1.0, description="share of a query's attention that must lie within the span")


def required_span(sequence: Attended, mass: float) -> Tensor:
    """Return the span in tokens that holds `mass` of a query's attention, (L, H), mean over queries.

    Queries that attend to nothing are left out; a head of which all do has 0.
    """
    attends = (sequence.mass.sum(-1) > 0).sum(-1)
    return span_for(sequence.mass, mass).double().sum(-1) / attends.clamp(min=1)


def measure_span(options: SpanOptions, subject: Subject) -> Sequence[Measurement]:
    """Return the span of the whole model and of each head, in tokens and relative to each sequence's own length."""
    tokens = Measurement("attention_span", "trained", None, "tokens", higher_is_better=None, samples=0)
    relative = tokens._replace(measure="attention_relative_span", unit="%")

    def rows() -> Iterator[Measurement]:
        for phase, sequences in trained_and_untrained(options, subject):
            spans, shares = [], []
            for each in sequences:
                spans.append(required_span(each, options.mass))
                shares.append(100.0 * spans[-1] / each.mass.shape[-2])
            yield from rows_by_head(tokens._replace(phase=phase), spans)
            yield from rows_by_head(relative._replace(phase=phase), shares)

    return served([tokens, relative], lambda: list(rows()))


SPAN = Measure(
    name="attention_span",
    summary="distance within which 90 % of a query's attention lies, by layer and head, trained and untrained",
    options=SpanOptions,
    run=measure_span,
    needs_training=True,
)
