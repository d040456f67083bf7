"""The copying task's options and data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from attention_arena.objectives import LanguageModeling
from attention_arena.prepared import key_of, prepared, progress
from attention_arena.rows import Rows, RowSplit, draw_distinct
from attention_arena.task import Source, TaskData, TaskNeeds
from attention_arena.variant import Options
from attention_arena_tasks.copying.baselines import accuracies, bits, optimum
from attention_arena_tasks.copying.generate import duplication, lagged

SPLITS = ("train", "validation", "test")
ROWS_AT_ONCE = 512
"""Rows of a draw; part of what a seed means."""
FORMAT = 1
"""Of the prepared files; another number makes them anew."""


class CopyingOptions(Options):
    """Options of copying; the defaults are the Reformer paper's duplication task."""

    kind: Literal["duplication", "lagged"] = Field(
        "duplication",
        description="duplication: 0w0w, the second w is scored, by accuracy; lagged: each symbol is copied from a fixed"
        " distance back or random, scored in bits per symbol, whose optimum is known",
    )
    length: int = Field(1024, ge=4, description="tokens in a row, the marks included; the model's length")
    n_symbols: int = Field(127, ge=2, le=4095, description="symbols to copy; the vocabulary has one more, the mark")
    lags: tuple[int, ...] = Field((64,), min_length=1, description="lagged only: how far back a copied symbol stands")
    copy_probability: float = Field(0.9, ge=0, le=1, description="lagged only: share of symbols that are copied")
    n_train: int = Field(50_000, ge=1, description="rows for training")
    n_validation: int = Field(1_000, ge=1, description="rows for validation")
    n_test: int = Field(1_000, ge=1, description="rows for the test")
    seed: int = Field(0, ge=0, description="seed of the generated data, not of the run")

    @model_validator(mode="after")
    def _fits(self) -> CopyingOptions:
        if self.kind == "duplication" and self.length % 2:
            raise ValueError(f"length must be even, two words and two marks, got {self.length}")
        if self.kind == "lagged" and not 1 <= min(self.lags) <= max(self.lags) < self.length:
            raise ValueError(f"lags must lie in 1 to {self.length - 1} (length - 1), got {list(self.lags)}")
        if self.kind == "lagged" and len(set(self.lags)) < len(self.lags):
            raise ValueError(f"lags must differ, got {list(self.lags)}")
        return self

    def generated(self) -> dict[str, object]:
        """Return what the data depend on."""
        irrelevant = {"lags", "copy_probability"} if self.kind == "duplication" else set()
        return self.model_dump(mode="json", exclude=irrelevant)


def objective(options: CopyingOptions) -> LanguageModeling:
    """Return the objective: what can be known for certain is compared by accuracy, what cannot in bits."""
    return LanguageModeling(options.n_symbols + 1, unit="symbol", by_accuracy=options.kind == "duplication")


def needs(options: CopyingOptions) -> TaskNeeds:
    """Return what a variant must be able to do."""
    return TaskNeeds(objective(options).requires, options.length, causal=True)


def load(options: CopyingOptions, folder: Path) -> TaskData:
    """Return the data, prepared under `folder` at first use."""
    key = key_of(options.kind, FORMAT, options.generated())
    ready = prepared(folder / "copying", key, lambda target: _make(options, target))
    known = json.loads((ready / "known.json").read_text())
    train, validation, test = (RowSplit.open(ready, name) for name in SPLITS)
    return TaskData(
        vocab_size=options.n_symbols + 1,
        max_length=options.length,
        objective=objective(options),
        train=train,
        validation=validation,
        test=test,
        source=Source("generated", _describe(options, known["optimum"])),
        trivial_baselines=known["baselines"],
    )


def generate(options: CopyingOptions) -> dict[str, RowSplit]:
    """Return the splits, by name; the test rows are drawn first, so that another `n_train` leaves them as they are."""
    stream = np.random.PCG64(options.seed)
    wanted = {"test": options.n_test, "validation": options.n_validation, "train": options.n_train}
    narrow = np.uint8 if options.n_symbols < 256 else np.uint16
    with progress(sum(wanted.values()), f"copying: {options.kind}", "row") as done:

        def draw() -> Rows:
            done.update(ROWS_AT_ONCE)
            if options.kind == "duplication":
                rows = duplication(stream, ROWS_AT_ONCE, options.length, options.n_symbols)
            else:
                rows = lagged(
                    stream, ROWS_AT_ONCE, options.length, options.n_symbols, options.lags, options.copy_probability
                )
            return Rows(rows.tokens.astype(narrow), rows.places.astype(np.uint16), rows.answers.astype(narrow))

        return draw_distinct(draw, wanted)


def _make(options: CopyingOptions, target: Path) -> None:
    splits = generate(options)
    for name, split in splits.items():
        split.save(target, name)
    rule = options.lags, options.copy_probability
    is_lagged = options.kind == "lagged"
    readers = (bits if is_lagged else accuracies)(splits["train"], splits["test"], options.n_symbols)
    best = optimum(splits["test"], options.n_symbols, *rule) if is_lagged else 100.0
    (target / "known.json").write_text(json.dumps({"baselines": readers, "optimum": best}, indent=1))


def _describe(options: CopyingOptions, best: float) -> str:
    counts = f"{options.n_train} + {options.n_validation} + {options.n_test} rows of {options.length} tokens"
    common = f"{counts}, {options.n_symbols} symbols, seed {options.seed}"
    if options.kind == "duplication":
        return f"generated: 0w0w with w at random, {common}; the second w can be known for certain"
    return (
        f"generated: each symbol the one {' or '.join(map(str, options.lags))} before with probability "
        f"{options.copy_probability:g}, else at random, {common}; who knows this scores {best:.4f} bits per symbol"
    )
