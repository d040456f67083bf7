"""How far trained models look, by gradient."""

from __future__ import annotations

from attention_arena.report.figures.diagnostics.series import Series, series_figure

RECEPTIVE_FIELD = series_figure(
    name="receptive_field",
    title="Receptive field",
    caption=(
        "Share of what moves a position's final hidden state that lies within a distance of it, by the gradient with "
        "respect to the input embeddings; a curve further right looks further. Bands are 95 % intervals over "
        "sequences. A gradient misses discrete choices (which bucket a token falls into) and memory without one."
    ),
    series=Series(
        panels={"receptive_field": "influence by distance"},
        lines={"within": "-"},
        along="position",
        axis="within a distance of (tokens)",
    ),
    nothing="No run measured its receptive field.",
)
