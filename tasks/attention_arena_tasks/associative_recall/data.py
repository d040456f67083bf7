"""Associative recall's options and data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from pydantic import Field, model_validator

from attention_arena.objectives import LanguageModeling
from attention_arena.prepared import key_of, prepared, progress
from attention_arena.rows import Rows, RowSplit, draw_distinct
from attention_arena.task import Source, TaskData, TaskNeeds
from attention_arena.variant import Options
from attention_arena_tasks.associative_recall.baselines import trivial_baselines
from attention_arena_tasks.associative_recall.generate import n_keys, n_slots, recall, slot_weights

SPLITS = ("train", "validation", "test")
ROWS_AT_ONCE = 512
"""Rows of a draw; part of what a seed means."""
FORMAT = 1
"""Of the prepared files; another number makes them anew."""


class AssociativeRecallOptions(Options):
    """Options of associative recall; the defaults are one of the paper's settings."""

    length: int = Field(256, ge=4, description="tokens in a row; the model's length")
    n_pairs: int = Field(16, ge=1, description="key-value pairs in a row; each is asked for once")
    vocab_size: int = Field(8192, ge=4, le=65_536, description="tokens: keys are the lower half, values the upper one")
    power: float = Field(0.01, ge=0, le=1, description="queries come at slot^(power - 1): 0 soonest, 1 anywhere")
    noise: bool = Field(True, description="random tokens between the queries; zeros if false")
    n_train: int = Field(100_000, ge=1, description="rows for training")
    n_validation: int = Field(1_000, ge=1, description="rows for validation")
    n_test: int = Field(3_000, ge=1, description="rows for the test")
    seed: int = Field(0, ge=0, description="seed of the generated data, not of the run")

    @model_validator(mode="after")
    def _fits(self) -> AssociativeRecallOptions:
        if n_slots(self.length, self.n_pairs) < self.n_pairs:
            raise ValueError(
                f"length must be at least 4 * n_pairs ({4 * self.n_pairs}), for the pairs and a slot of two tokens for"
                f" each query, got {self.length}"
            )
        if n_keys(self.vocab_size) < self.n_pairs:
            raise ValueError(
                f"vocab_size must be at least 2 * n_pairs + 2 ({2 * self.n_pairs + 2}), for a key and a value of each"
                f" pair, got {self.vocab_size}"
            )
        return self


def objective(options: AssociativeRecallOptions) -> LanguageModeling:
    """Return the objective: accuracy at the queries."""
    return LanguageModeling(options.vocab_size, unit="value", by_accuracy=True)


def needs(options: AssociativeRecallOptions) -> TaskNeeds:
    """Return what a variant must be able to do."""
    return TaskNeeds(objective(options).requires, options.length, causal=True)


def load(options: AssociativeRecallOptions, folder: Path) -> TaskData:
    """Return the data, prepared under `folder` at first use."""
    key = key_of("generated", FORMAT, options.model_dump(mode="json"))
    ready = prepared(folder / "associative_recall", key, lambda target: _make(options, target))
    train, validation, test = (RowSplit.open(ready, name) for name in SPLITS)
    between = "noise" if options.noise else "zeros"
    description = (
        f"generated: {options.n_train} + {options.n_validation} + {options.n_test} rows of {options.length} tokens, "
        f"{options.n_pairs} pairs, vocabulary {options.vocab_size}, power {options.power:g}, {between} between the "
        f"queries, seed {options.seed}"
    )
    return TaskData(
        vocab_size=options.vocab_size,
        max_length=options.length,
        objective=objective(options),
        train=train,
        validation=validation,
        test=test,
        source=Source("generated", description),
        trivial_baselines=json.loads((ready / "baselines.json").read_text()),
    )


def generate(options: AssociativeRecallOptions) -> dict[str, RowSplit]:
    """Return the splits, by name; the test rows are drawn first, so that another `n_train` leaves them as they are."""
    stream = np.random.PCG64(options.seed)
    wanted = {"test": options.n_test, "validation": options.n_validation, "train": options.n_train}
    weights = slot_weights(n_slots(options.length, options.n_pairs), options.power)
    with progress(sum(wanted.values()), "associative recall", "row") as done:

        def draw() -> Rows:
            done.update(ROWS_AT_ONCE)
            return recall(
                stream,
                ROWS_AT_ONCE,
                options.length,
                options.n_pairs,
                options.vocab_size,
                weights,
                options.noise,
            )

        return draw_distinct(draw, wanted)


def _make(options: AssociativeRecallOptions, target: Path) -> None:
    splits = generate(options)
    for name, split in splits.items():
        split.save(target, name)
    baselines = trivial_baselines(splits["train"], splits["test"], options.vocab_size)
    (target / "baselines.json").write_text(json.dumps(baselines, indent=1))
