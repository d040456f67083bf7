"""The report's own figures, registered through the same door as a third party's."""

from __future__ import annotations

from collections.abc import Sequence

from attention_arena.hooks import hookimpl
from attention_arena.report.figures.figure import Figure

__all__ = ["Figure", "register_figures"]


@hookimpl
def register_figures() -> Sequence[Figure]:
    """Register the figures of every report, in its order."""
    # Here and not above: a process that loads plugins to train must not load polars.
    from attention_arena.report.figures.cost import SPACE, TIME
    from attention_arena.report.figures.diagnostics.attention_off import ATTENTION_OFF
    from attention_arena.report.figures.diagnostics.by_head import RANK, SPAN, SPARSITY
    from attention_arena.report.figures.diagnostics.maps import MAPS
    from attention_arena.report.figures.diagnostics.receptive_field import RECEPTIVE_FIELD
    from attention_arena.report.figures.diagnostics.spectrum import SPECTRUM
    from attention_arena.report.figures.learning import LEARNING
    from attention_arena.report.figures.perplexity import BY_POSITION, BY_PROTOCOL
    from attention_arena.report.figures.quality import QUALITY
    from attention_arena.report.figures.time_ratio import RATIO
    from attention_arena.report.figures.tradeoff import TRADEOFF

    costs = [TIME, RATIO, SPACE]
    language_models = [BY_PROTOCOL, BY_POSITION]
    return [
        *(TRADEOFF, QUALITY, LEARNING, *costs, *language_models),
        *(MAPS, SPARSITY, SPAN, SPECTRUM, RANK, RECEPTIVE_FIELD, ATTENTION_OFF),
    ]
