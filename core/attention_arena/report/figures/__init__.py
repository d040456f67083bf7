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
    from attention_arena.report.figures.cost import COST
    from attention_arena.report.figures.learning import LEARNING
    from attention_arena.report.figures.tradeoff import TRADEOFF

    return [TRADEOFF, LEARNING, COST]
