"""ListOps' options, and its data: generated, or read from the Long Range Arena's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from attention_arena import lra_release
from attention_arena.datasets import locate
from attention_arena.objectives import Classification
from attention_arena.prepared import key_of, prepared, progress
from attention_arena.splits import ExampleSplit
from attention_arena.task import Source, TaskData, TaskError, TaskNeeds
from attention_arena_tasks.listops import release
from attention_arena_tasks.listops.baselines import trivial_baselines
from attention_arena_tasks.listops.expressions import N_CLASSES, VOCABULARY
from attention_arena_tasks.listops.generate import Expressions, TreeShape, distinct
from attention_arena_tasks.sourced import SourcedOptions

SPLITS = ("train", "validation", "test")
FORMAT = 1
"""Of the prepared files; another number makes them anew."""


class ListOpsOptions(SourcedOptions):
    """Options of ListOps; the defaults are the Long Range Arena's."""

    source: Literal["generated", "official"] = Field("generated", description="made here, or the LRA's own files")
    path: Path | None = Field(
        None, description="official only: the LRA's release, packed or not; null: where `arena data get` keeps it"
    )
    min_length: int = Field(500, ge=1, description="expressions are longer than this, in symbols, brackets included")
    max_length: int = Field(2000, ge=5, description="expressions are shorter than this; the model's length")
    max_depth: int = Field(10, ge=2, description="levels of a tree, digits included")
    max_args: int = Field(10, ge=2, le=100, description="most arguments of an operator; the fewest are 2")
    n_train: int = Field(96_000, ge=1, description="examples to generate for training")
    n_validation: int = Field(2_000, ge=1, description="examples to generate for validation")
    n_test: int = Field(2_000, ge=1, description="examples to generate for the test")
    seed: int = Field(0, ge=0, description="seed of the generated data, not of the run")
    fixed_length: bool = Field(False, description="pad every batch to max_length, as the LRA does, for static shapes")

    @model_validator(mode="after")
    def _some_length_is_left(self) -> ListOpsOptions:
        if self.source == "official":
            return self
        longest = _longest(self.max_depth, self.max_args, self.max_length)
        if self.max_length - self.min_length < 2:
            raise ValueError(
                f"max_length must exceed min_length ({self.min_length}) by 2 at least, since both are strict, "
                f"got {self.max_length}"
            )
        if longest <= self.min_length:
            raise ValueError(
                f"no expression of max_depth {self.max_depth} and max_args {self.max_args} is longer than {longest}, "
                f"but min_length is {self.min_length}"
            )
        return self


def needs(options: ListOpsOptions) -> TaskNeeds:
    """Return what a variant must be able to do."""
    return TaskNeeds(Classification(N_CLASSES).requires, options.max_length, causal=False)


def load(options: ListOpsOptions, folder: Path) -> TaskData:
    """Return the data, prepared under `folder` at first use."""
    ready, source = _read(options, folder) if options.source == "official" else _generated(options, folder)
    pad_to = options.max_length if options.fixed_length else None
    train, validation, test = (ExampleSplit.open(ready, name, pad_to) for name in SPLITS)
    return TaskData(
        vocab_size=len(VOCABULARY),
        max_length=options.max_length,
        objective=Classification(N_CLASSES),
        train=train,
        validation=validation,
        test=test,
        source=source,
        trivial_baselines=json.loads((ready / "baselines.json").read_text()),
    )


def _generated(options: ListOpsOptions, folder: Path) -> tuple[Path, Source]:
    asked = options.model_dump(mode="json", exclude={"source", "path", "fixed_length"})
    key = key_of("generated", FORMAT, asked)

    def make(target: Path) -> None:
        _save(generate(options), target)

    description = (
        f"generated as the Long Range Arena does, seed {options.seed}: {options.n_train} + {options.n_validation} + "
        f"{options.n_test} distinct expressions of {options.min_length + 1} to {options.max_length - 1} symbols, "
        f"depth {options.max_depth}, at most {options.max_args} arguments"
    )
    return prepared(folder / "listops", key, make), Source("generated", description)


def _read(options: ListOpsOptions, folder: Path) -> tuple[Path, Source]:
    """Read the release's files; they count as official when they have as many examples as the release."""
    path = locate(lra_release.NAME, options.path, folder)
    seen = [FORMAT, options.max_length, *release.fingerprint(path)]
    key = key_of("read", *seen)

    def make(target: Path) -> None:
        _save(release.read(path, options.max_length), target)

    ready = prepared(folder / "listops", key, make)
    counts = {name: ExampleSplit.open(ready, name).n_examples for name in SPLITS}
    described = " + ".join(str(counts[name]) for name in SPLITS)
    if counts == release.COUNTS:
        source = Source("official", f"Long Range Arena files, {described} examples", "Apache-2.0")
    else:
        expected = " + ".join(str(release.COUNTS[name]) for name in SPLITS)
        source = Source("user", f"files in the Long Range Arena's layout, {described} examples, not its {expected}")
    return ready, source


def generate(options: ListOpsOptions) -> dict[str, ExampleSplit]:
    """Return the splits, by name.

    The test split comes first in the stream and train last: fewer or more examples to train on leave the test as it is.
    """
    order = {"test": options.n_test, "validation": options.n_validation, "train": options.n_train}
    wanted = sum(order.values())
    shape = TreeShape(options.max_depth, options.max_args, options.min_length, options.max_length)
    chunks: list[Expressions] = []
    found = 0
    with progress(wanted, "listops: generating", "example") as done:
        for chunk in distinct(options.seed, shape):
            chunks.append(chunk)
            found += len(chunk.values)
            done.update(len(chunk.values))
            if found >= wanted:
                break
    if found < wanted:
        raise TaskError(
            f"only {found} distinct expressions of {options.min_length + 1} to {options.max_length - 1} symbols were "
            f"found, but {wanted} are asked for: widen the lengths or lower n_train, n_validation and n_test"
        )
    return _cut(chunks, order)


def _cut(chunks: list[Expressions], order: dict[str, int]) -> dict[str, ExampleSplit]:
    """Return consecutive splits of the given sizes."""
    tokens, lengths, values = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    splits, start = {}, 0
    for name, n in order.items():
        bounds = offsets[start : start + n + 1]
        splits[name] = ExampleSplit(tokens[bounds[0] : bounds[-1]], bounds - bounds[0], values[start : start + n])
        start += n
    return splits


def _save(splits: dict[str, ExampleSplit], target: Path) -> None:
    for name, split in splits.items():
        split.save(target, name)
    baselines = trivial_baselines(splits["train"], splits["test"])
    (target / "baselines.json").write_text(json.dumps(baselines, indent=1))


def _longest(max_depth: int, max_args: int, enough: int) -> int:
    """Return the longest expression's symbols, or any number from `enough` on if that is exceeded."""
    length = 1
    for _ in range(max_depth - 1):
        length = 2 + max_args * length
        if length >= enough:
            break
    return length
