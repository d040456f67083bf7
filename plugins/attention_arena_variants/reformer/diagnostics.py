"""The measure `lsh`: what hashing does in a trained model, layer by layer.

Beside each number stands what buckets of no meaning would give: for balance tokens thrown into buckets uniformly, for
recall the same buckets with their tokens shuffled. Chunks of a fixed size find some keys however bad the hash is, and
more of them with each round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated, NamedTuple

import torch
from pydantic import Field

from attention_arena.measure import Measure, Measurement, Subject
from attention_arena.measures.diagnostics.capture import layer_inputs
from attention_arena.measures.diagnostics.examples import first_examples
from attention_arena.measures.diagnostics.shares import mean_share
from attention_arena.measures.passes import rows_or_reason
from attention_arena.statistics import mean_interval
from attention_arena.variant import Options
from attention_arena_variants.reformer.attention import ReformerAttention
from attention_arena_variants.reformer.recall import (
    Hashing,
    attended,
    bucket_sizes,
    full_logits,
    largest_over_mean,
    mass_on,
    relative_entropy,
    shuffled,
    top_on,
)

ENTROPY, LARGEST, MASS, TOP = "lsh_entropy", "lsh_largest_bucket", "lsh_mass_recall", "lsh_top_recall"
UNITS = {
    ENTROPY: "share of log n_buckets",
    LARGEST: "times the mean",
    MASS: "share of attention",
    TOP: "share of top keys",
}
HASHED, RANDOM = "hashed", "random"


class LSHOptions(Options):
    """Options of the measure."""

    examples: int = Field(8, ge=1, description="sequences of the test split; each costs n^2 per head and round")
    top_k: int = Field(8, ge=1, description="keys of a query that full attention weighs most")
    hashes: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)] = Field(
        [1, 2, 4, 8], description="hash rounds at which recall is measured"
    )


class Cell(NamedTuple):
    """Which number a value is; `rounds` None: those of the model's evaluation."""

    measure: str
    phase: str
    rounds: int | None

    def blank(self) -> Measurement:
        """Return its row."""
        return Measurement(self.measure, self.phase, None, UNITS[self.measure], position=self.rounds)


def measure_lsh(options: LSHOptions, subject: Subject) -> Sequence[Measurement]:
    """Return bucket balance and recall by layer, "hashed" and "random", with t intervals over sequences.

    Balance, in the rounds of evaluation: `lsh_entropy` is the entropy of bucket sizes over log n_buckets (1: even),
    `lsh_largest_bucket` the largest bucket over the mean one. Recall, with the rounds as `position`: `lsh_mass_recall`
    is the share of full attention that falls on keys which hashed attention attends to, `lsh_top_recall` the share of a
    query's `top_k` keys. Queries that may attend to nothing but themselves do not count. A model without hashed
    attention has one row, `lsh`, that says so.
    """
    blank = Measurement("lsh", "trained model", None, UNITS[MASS])
    layers = [layer for layer in subject.trained.modules() if isinstance(layer, ReformerAttention)]
    if not layers:
        return [blank.without("unsupported", f"{subject.contender.variant.name} has no buckets")]
    if layers[0].options.attention == "full":
        return [blank.without("unsupported", "attention: full hashes nothing; set attention: lsh")]
    return rows_or_reason([blank], partial(_rows, options, subject))


def _rows(options: LSHOptions, subject: Subject) -> list[Measurement]:
    generator = torch.Generator().manual_seed(subject.seed)
    found: dict[int, dict[Cell, list[float]]] = {}
    for layer, hashing in _hashings(subject, options.examples):
        values = balance(hashing, generator)
        for n_hashes in dict.fromkeys(options.hashes):
            values |= recall(hashing, n_hashes, options.top_k, generator)
        for cell, value in values.items():
            found.setdefault(layer, {}).setdefault(cell, []).append(value)
    rows = []
    for layer, cells in sorted(found.items()):
        for cell, each in cells.items():
            mean = mean_interval(each) if cell.measure == LARGEST else mean_share(each)
            row = cell.blank()._replace(layer=layer)
            rows.append(row._replace(value=mean.value, low=mean.low, high=mean.high, samples=mean.n))
    return rows


def _hashings(subject: Subject, examples: int) -> Iterator[tuple[int, Hashing]]:
    """Yield layer and sequence, sequences of the test split with two real tokens at least."""
    for batch in first_examples(subject, examples):
        with subject.autocast():
            inputs = layer_inputs(subject.trained, batch)
        for layer, (attention, x, context, *_) in enumerate(inputs):
            if not isinstance(attention, ReformerAttention):
                continue
            with torch.no_grad():
                query = attention.queries(x.to(attention.project_in.weight.dtype))
            valid = torch.ones_like(x[..., 0], dtype=torch.bool) if context.valid is None else context.valid
            for row in range(len(query)):
                if valid[row].sum() > 1:
                    yield layer, Hashing(attention, query[row : row + 1], valid[row : row + 1])


def balance(hashing: Hashing, generator: torch.Generator) -> dict[Cell, float]:
    """Return the balance of one sequence, averaged over heads and the rounds of evaluation."""
    own, n_buckets = hashing.attention.options, hashing.attention.n_buckets
    buckets = hashing.real_buckets(own.eval_hashes or own.n_hashes)
    uniform = torch.randint(n_buckets, buckets.shape, generator=generator).to(buckets.device)
    values = {}
    for phase, ids in ((HASHED, buckets), (RANDOM, uniform)):
        sizes = bucket_sizes(ids, n_buckets)
        values[Cell(ENTROPY, phase, None)] = float(relative_entropy(sizes).mean())
        values[Cell(LARGEST, phase, None)] = float(largest_over_mean(sizes).mean())
    return values


def recall(hashing: Hashing, n_hashes: int, top_k: int, generator: torch.Generator) -> dict[Cell, float]:
    """Return the recall of one sequence in so many rounds, averaged over heads and queries."""
    hashed = hashing.buckets(n_hashes)
    n_heads = hashed.shape[1]
    values: dict[Cell, float] = {}
    for phase, buckets in ((HASHED, hashed), (RANDOM, shuffled(hashed, hashing.valid, generator))):
        for head in range(n_heads):
            logits = full_logits(hashing, head)
            found = attended(hashing, buckets[:, head : head + 1])
            for name, share in ((MASS, mass_on(found, logits)), (TOP, top_on(found, logits, top_k))):
                cell = Cell(name, phase, n_hashes)
                values[cell] = values.get(cell, 0.0) + float(share) / n_heads
    return values


LSH = Measure(
    name="lsh",
    summary="bucket balance of Reformer's hashing, and how much of full attention falls on hashed keys",
    options=LSHOptions,
    run=measure_lsh,
    needs_training=True,
)
