"""What hashing finds in trained models, by hash rounds and by layer."""

from __future__ import annotations

from attention_arena.report.figures.diagnostics.series import Series, series_figure
from attention_arena_variants.reformer.diagnostics import ENTROPY, HASHED, LARGEST, MASS, RANDOM, TOP

NOTHING = "No run measured hashing."

LSH_RECALL = series_figure(
    name="lsh_recall",
    title="What hashing finds",
    caption=(
        "How much of full attention, over the same queries and keys, falls on keys that hashed attention reaches, by "
        "hash rounds; dashed, where tokens are shuffled among the buckets. What lies above the dashed line is the "
        "hash's own doing. A line is the mean over layers; bands reach from the lowest layer to the highest."
    ),
    series=Series(
        panels={MASS: "attention on hashed keys", TOP: "strongest keys reached"},
        lines={HASHED: "-", RANDOM: "--"},
        along="position",
        axis="hash rounds",
    ),
    nothing=NOTHING,
)

LSH_BALANCE = series_figure(
    name="lsh_balance",
    title="Bucket balance",
    caption=(
        "How evenly hashing fills the buckets, layer by layer: the entropy of bucket sizes, 1 where all are equal, and "
        "the largest bucket against the mean one; dashed, as many tokens thrown into buckets at random. Bands are 95 % "
        "intervals over sequences."
    ),
    series=Series(
        panels={ENTROPY: "entropy of bucket sizes", LARGEST: "largest bucket"},
        lines={HASHED: "-", RANDOM: "--"},
        along="layer",
        axis="layer",
    ),
    nothing=NOTHING,
)
