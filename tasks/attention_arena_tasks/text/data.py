"""The text task's options, and its data: the IMDb reviews, or passages of Python's standard library in their stead."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from attention_arena.byte_text import N_IDS, ids_of
from attention_arena.datasets import locate
from attention_arena.objectives import Classification
from attention_arena.prepared import key_of, prepared, progress
from attention_arena.python_sources import LICENCE, python_version
from attention_arena.splits import ExampleSplit
from attention_arena.task import Source, TaskData, TaskNeeds
from attention_arena_tasks.sourced import SourcedOptions
from attention_arena_tasks.text import imdb, stand_in
from attention_arena_tasks.text.baselines import trivial_baselines

SPLITS = ("train", "validation", "test")
N_CLASSES = 2
FORMAT = 1
"""Of the prepared files; another number makes them anew."""


class TextOptions(SourcedOptions):
    """Options of the text task."""

    source: Literal["stand-in", "official"] = Field(
        "stand-in", description="official: the IMDb reviews; stand-in: passages of Python's own sources, by topic"
    )
    path: Path | None = Field(
        None, description="aclImdb_v1.tar.gz or its folder; null: where `arena data get imdb` keeps it"
    )
    max_length: int = Field(4096, ge=4, description="bytes of a text that are read; the LRA has 1000 to 4096")
    validation: Literal["held-out", "test"] = Field(
        "held-out", description="held-out: a tenth of IMDb's training reviews; test: its test reviews, as in the LRA"
    )
    n_train: int = Field(10_000, ge=2, description="passages of the stand-in for training")
    n_validation: int = Field(1_000, ge=2, description="passages of the stand-in for validation")
    n_test: int = Field(2_000, ge=2, description="passages of the stand-in for the test")
    seed: int = Field(0, ge=0, description="seed of the stand-in's passages, not of the run")
    fixed_length: bool = Field(False, description="pad every batch to max_length, for static shapes")

    @model_validator(mode="after")
    def _only_imdb_validates_on_its_test(self) -> TextOptions:
        if self.source == "stand-in" and self.validation == "test":
            raise ValueError("`validation: test` is the LRA's way with IMDb: it needs `source: official`")
        return self


def needs(options: TextOptions) -> TaskNeeds:
    """Return what a variant must be able to do."""
    return TaskNeeds(Classification(N_CLASSES).requires, options.max_length, causal=False)


def load(options: TextOptions, folder: Path) -> TaskData:
    """Return the data, prepared under `folder` at first use."""
    ready, source = _stand_in(options, folder) if options.source == "stand-in" else _imdb(options, folder)
    pad_to = options.max_length if options.fixed_length else None
    validation = "test" if options.validation == "test" else "validation"
    return TaskData(
        vocab_size=N_IDS,
        max_length=options.max_length,
        objective=Classification(N_CLASSES),
        train=ExampleSplit.open(ready, "train", pad_to),
        validation=ExampleSplit.open(ready, validation, pad_to),
        test=ExampleSplit.open(ready, "test", pad_to),
        source=source,
        trivial_baselines=json.loads((ready / "baselines.json").read_text()),
    )


def _stand_in(options: TextOptions, folder: Path) -> tuple[Path, Source]:
    counts = {split: getattr(options, f"n_{split}") for split in SPLITS}
    asked = [FORMAT, counts, options.max_length, options.seed, python_version()]

    def make(target: Path) -> None:
        drawn = stand_in.draw(counts, options.max_length, options.seed)
        _save({split: _examples(texts, targets) for split, (texts, targets) in drawn.items()}, target)

    described = " + ".join(f"{counts[split]:,}" for split in SPLITS)
    description = (
        f"not IMDb: {described} passages of at most {options.max_length} bytes from the sources of the Python "
        f"{python_version()} standard library, network and process modules against language and data modules; files "
        f"dealt whole to train, validation and test; seed {options.seed}"
    )
    return prepared(folder / "text", key_of("stand-in", *asked), make), Source("stand-in", description, LICENCE)


def _imdb(options: TextOptions, folder: Path) -> tuple[Path, Source]:
    place = imdb.find(locate(imdb.NAME, options.path, folder))
    asked = [FORMAT, options.max_length, options.validation, imdb.stamp(place)]

    def make(target: Path) -> None:
        reviews = _read(place)
        train = [review for review in reviews if review.split == "train"]
        parts = {"test": [review for review in reviews if review.split == "test"], "train": train}
        if options.validation == "held-out":
            parts["train"], parts["validation"] = imdb.hold_out(train)
        _save({split: _reviews(part, options.max_length) for split, part in parts.items()}, target)
        facts = {"official": imdb.is_official(reviews), "counts": {split: len(part) for split, part in parts.items()}}
        (target / "facts.json").write_text(json.dumps(facts))

    ready = prepared(folder / "text", key_of("imdb", *asked), make)
    facts = json.loads((ready / "facts.json").read_text())
    counts = facts["counts"] | ({"validation": facts["counts"]["test"]} if options.validation == "test" else {})
    described = " + ".join(f"{counts[split]:,}" for split in SPLITS)
    how = "held out of train" if options.validation == "held-out" else "the test reviews themselves, as in the LRA"
    if facts["official"]:
        return ready, Source("official", f"IMDb reviews v1.0, {described}; validation is {how}", "none stated")
    return ready, Source("user", f"reviews in IMDb's layout, {described}, not the release's; validation is {how}")


def _read(place: Path) -> list[imdb.Review]:
    """Return all labelled reviews, with a bar while they are read."""
    with progress(len(imdb.SPLITS) * len(imdb.CLASSES) * imdb.PER_CLASS, "text: reading reviews", "review") as done:
        return imdb.read(place, done.update)


def _reviews(reviews: Sequence[imdb.Review], max_length: int) -> ExampleSplit:
    ordered = imdb.in_order(reviews)
    targets = [imdb.CLASSES.index(review.label) for review in ordered]
    return _examples([review.text[:max_length] for review in ordered], targets)


def _examples(texts: Sequence[bytes], targets: Sequence[int]) -> ExampleSplit:
    return ExampleSplit(*ids_of(texts), np.array(targets, dtype=np.uint8))


def _save(splits: dict[str, ExampleSplit], target: Path) -> None:
    for name, split in splits.items():
        split.save(target, name)
    baselines = trivial_baselines(splits["train"], splits["test"])
    (target / "baselines.json").write_text(json.dumps(baselines, indent=1))
