"""What random features cost in exactness, by their number."""

from __future__ import annotations

from attention_arena.report.figures.diagnostics.series import Series, series_figure
from attention_arena_variants.performer.diagnostics import OWN, UNIFORM

KERNEL_ERROR_BY_FEATURES = series_figure(
    name="kernel_error",
    title="Error of random features",
    caption=(
        "How far attention by random features is from the softmax attention that it estimates, on the trained model's "
        "own queries and keys, by the number of random directions. The dotted line weighs all keys alike, and needs no "
        "features. A line is the mean over layers; bands reach from the lowest layer to the highest."
    ),
    series=Series(
        panels={
            "kernel_error_matrix": "attention weights",
            "kernel_error_output": "attention output",
            "kernel_error_variation": "attention weights, by row",
        },
        lines={"orthogonal": "-", "iid": "--", OWN: "", UNIFORM: ":"},
        along="position",
        axis="random directions",
    ),
    nothing="No run measured the error of random features.",
)
