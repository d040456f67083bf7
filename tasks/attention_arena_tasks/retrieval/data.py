"""The retrieval task's options, and its data: citing papers, or passages of Python's standard library instead."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from attention_arena import lra_release
from attention_arena.byte_text import N_IDS, ids_of
from attention_arena.datasets import locate
from attention_arena.objectives import Matching
from attention_arena.pairs import PairSplit
from attention_arena.prepared import key_of, prepared, progress
from attention_arena.python_sources import LICENCE, python_version
from attention_arena.task import Source, TaskData, TaskNeeds
from attention_arena_tasks.retrieval import aan, stand_in
from attention_arena_tasks.retrieval.baselines import trivial_baselines
from attention_arena_tasks.sourced import SourcedOptions

SPLITS = ("train", "validation", "test")
N_CLASSES = 2
FORMAT = 1
"""Of the prepared files; another number makes them anew."""


class RetrievalOptions(SourcedOptions):
    """Options of the retrieval task."""

    source: Literal["stand-in", "official"] = Field(
        "stand-in", description="official: the LRA's pairs of papers; stand-in: passages of Python's own sources"
    )
    path: Path | None = Field(
        None,
        description="folder or archive with new_aan_pairs.{train,eval,test}.tsv; null: where `arena data get lra` "
        "keeps it",
    )
    max_length: int = Field(4000, ge=4, description="bytes of each of the two texts that are read; the LRA has 4000")
    n_train: int = Field(10_000, ge=2, description="pairs of the stand-in for training")
    n_validation: int = Field(500, ge=2, description="pairs of the stand-in for validation")
    n_test: int = Field(2_000, ge=2, description="pairs of the stand-in for the test")
    seed: int = Field(0, ge=0, description="seed of the stand-in's pairs, not of the run")
    fixed_length: bool = Field(False, description="pad every batch to max_length, as the LRA does, for static shapes")


def needs(options: RetrievalOptions) -> TaskNeeds:
    """Return what a variant must be able to do."""
    return TaskNeeds(Matching(N_CLASSES).requires, options.max_length, causal=False, n_sequences=2)


def load(options: RetrievalOptions, folder: Path) -> TaskData:
    """Return the data, prepared under `folder` at first use."""
    ready, source = _stand_in(options, folder) if options.source == "stand-in" else _papers(options, folder)
    pad_to = options.max_length if options.fixed_length else None
    train, validation, test = (PairSplit.open(ready, name, pad_to) for name in SPLITS)
    return TaskData(
        vocab_size=N_IDS,
        max_length=options.max_length,
        objective=Matching(N_CLASSES),
        train=train,
        validation=validation,
        test=test,
        source=source,
        trivial_baselines=json.loads((ready / "baselines.json").read_text()),
    )


def _stand_in(options: RetrievalOptions, folder: Path) -> tuple[Path, Source]:
    counts = {split: getattr(options, f"n_{split}") for split in SPLITS}
    asked = [FORMAT, counts, options.max_length, options.seed, python_version()]

    def make(target: Path) -> None:
        drawn = stand_in.draw(counts, options.max_length, options.seed)
        _save({split: _split(*parts) for split, parts in drawn.items()}, target)

    described = " + ".join(f"{counts[split]:,}" for split in SPLITS)
    description = (
        f"not the ACL Anthology Network: {described} pairs of passages of at most {options.max_length} bytes from the "
        f"sources of the Python {python_version()} standard library, from one file or from two of a kind; files dealt "
        f"whole to train, validation and test; seed {options.seed}"
    )
    return prepared(folder / "retrieval", key_of("stand-in", *asked), make), Source("stand-in", description, LICENCE)


def _papers(options: RetrievalOptions, folder: Path) -> tuple[Path, Source]:
    place = aan.find(locate(lra_release.NAME, options.path, folder))
    asked = [FORMAT, options.max_length, aan.stamp(place)]

    def make(target: Path) -> None:
        with progress(sum(aan.COUNTS.values()), "retrieval: reading pairs", "pair") as done:
            read = aan.read(place, options.max_length, done.update)
        _save({split: _split(*read[split]) for split in SPLITS}, target)

    ready = prepared(folder / "retrieval", key_of("aan", *asked), make)
    counts = {split: PairSplit.open(ready, split).n_examples for split in SPLITS}
    described = " + ".join(f"{counts[split]:,}" for split in SPLITS)
    if counts == aan.COUNTS:
        return ready, Source("official", f"Long Range Arena's pairs of papers, {described}", "free for research")
    expected = " + ".join(f"{aan.COUNTS[split]:,}" for split in SPLITS)
    return ready, Source(
        "user", f"files in the layout of the Long Range Arena's, {described} pairs, not its {expected}"
    )


def _split(texts: Sequence[bytes], pairs: Sequence[tuple[int, int]], targets: Sequence[int]) -> PairSplit:
    tokens, offsets = ids_of(texts)
    return PairSplit(tokens, offsets, np.array(pairs, dtype=np.int32), np.array(targets, dtype=np.uint8))


def _save(splits: dict[str, PairSplit], target: Path) -> None:
    for name, split in splits.items():
        split.save(target, name)
    baselines = trivial_baselines(splits["train"], splits["test"])
    (target / "baselines.json").write_text(json.dumps(baselines, indent=1))
