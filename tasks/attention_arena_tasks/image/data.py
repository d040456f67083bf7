"""The image task's options and data: CIFAR-10 in grey, or its stand-in, read pixel by pixel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from attention_arena.datasets import locate, place_of
from attention_arena.objectives import Classification
from attention_arena.prepared import key_of, prepared, progress
from attention_arena.splits import ExampleSplit
from attention_arena.task import Source, TaskData, TaskNeeds
from attention_arena_tasks.image import cifar, glyphs
from attention_arena_tasks.image.baselines import Labels, trivial_baselines
from attention_arena_tasks.image.cifar import N_CLASSES
from attention_arena_tasks.image.glyphs import SIDE, reduce
from attention_arena_tasks.image.grey import Pixels
from attention_arena_tasks.image.values import ClassificationOfValues
from attention_arena_tasks.pictures import counted, open_pictures, save_known
from attention_arena_tasks.sourced import SourcedOptions

DATA_SETS = ("cifar10", "cifar10-python")
"""The two published archives; either one will do."""
SIZES = {"train": 45_000, "validation": 5_000, "test": 10_000}
IMAGES_AT_ONCE = 64
"""Images of a draw: as many as fit a processor's cache. Another number draws the same images."""
FORMAT = 2
"""Of the prepared files; another number makes them anew."""

Parts = Mapping[str, tuple[Labels, Pixels]]


class ImageOptions(SourcedOptions):
    """Options of the image task."""

    source: Literal["official", "stand-in"] = Field(
        "stand-in", description="official: CIFAR-10 at `path`; stand-in: ten kinds of drawn glyphs, made here"
    )
    path: Path | None = Field(
        None,
        description="official only: folder or archive of CIFAR-10, in its binary or its Python layout; where"
        " `arena data get` keeps it if absent",
    )
    side: Literal[8, 16, 32] = Field(
        32, description="pixels of an image's side; 16 and 8, with fewer tokens, are the stand-in's alone"
    )
    pixels: Literal["symbols", "values"] = Field(
        "symbols",
        description="symbols: each of 256 greys has a learned vector, as in the LRA; values: a grey is a number that "
        "one learned vector is multiplied by, as Gu et al. 2022 read pixels",
    )
    n_train: int | None = Field(None, ge=1, description="stand-in only: images for training; 45,000 if absent")
    n_validation: int | None = Field(None, ge=1, description="stand-in only: images for validation; 5,000 if absent")
    n_test: int | None = Field(None, ge=1, description="stand-in only: images for the test; 10,000 if absent")
    seed: int = Field(0, ge=0, description="seed of the stand-in, not of the run")

    @model_validator(mode="after")
    def _belongs_together(self) -> ImageOptions:
        given = [f"n_{name}" for name in SIZES if getattr(self, f"n_{name}") is not None]
        if self.source == "official" and given:
            raise ValueError(
                f"{', '.join(given)}: only the stand-in can have another size, the official data are whole"
            )
        if self.source == "official" and self.side != SIDE:
            raise ValueError(f"side must be {SIDE} with `source: official`, got {self.side}: less is the stand-in's")
        return self

    @property
    def length(self) -> int:
        """Tokens of an image."""
        return self.side**2

    def sizes(self) -> dict[str, int]:
        """Return how many images each split of the stand-in has."""
        return {name: getattr(self, f"n_{name}") or size for name, size in SIZES.items()}


def needs(options: ImageOptions) -> TaskNeeds:
    """Return what a variant must be able to do."""
    return TaskNeeds(objective(options).requires, options.length, causal=False)


def objective(options: ImageOptions) -> Classification:
    """Return the objective; every image has the same size, so nothing is padded, and grey 0 is a pixel like others."""
    return {"symbols": Classification, "values": ClassificationOfValues}[options.pixels](N_CLASSES, padded=False)


def load(options: ImageOptions, folder: Path) -> TaskData:
    """Return the data, prepared under `folder` at first use."""
    ready = _drawn(options, folder) if options.source == "stand-in" else _read(options, folder)
    return open_pictures(ready, options.length, objective(options))


def draw(options: ImageOptions) -> Parts:
    """Return the stand-in's images; the test ones come first, so that another `n_train` leaves them as they are."""
    sizes = options.sizes()
    bits = np.random.PCG64(options.seed)
    drawn, n_wanted = [], sum(sizes.values())
    with progress(n_wanted, "image: drawing glyphs", "image") as done:
        for _ in range(0, n_wanted, IMAGES_AT_ONCE):
            drawn.append(glyphs.draw(bits, IMAGES_AT_ONCE))
            done.update(IMAGES_AT_ONCE)
    labels, pixels = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    if options.side != SIDE:
        pixels = reduce(pixels, options.side)
    parts, start = {}, 0
    for name in ("test", "validation", "train"):
        rows = slice(start, start + sizes[name])
        parts[name] = labels[rows], pixels[rows]
        start = rows.stop
    return parts


def _drawn(options: ImageOptions, folder: Path) -> Path:
    sizes = options.sizes()
    source = Source(
        "stand-in",
        f"glyphs, not CIFAR-10: ten kinds of drawn strokes in {options.side} x {options.side} greys, "
        f"seed {options.seed}, {counted(sizes)}",
    )
    asked = [FORMAT, sizes, options.seed] + ([options.side] if options.side != SIDE else [])
    key = key_of("glyphs", *asked)
    return prepared(folder / "image", key, lambda target: _save(draw(options), source, target))


def _read(options: ImageOptions, folder: Path) -> Path:
    name = DATA_SETS[0]
    if options.path is None:
        name = next((each for each in DATA_SETS if place_of(each, folder).exists()), name)
    path = locate(name, options.path, folder)

    def make(target: Path) -> None:
        batches = cifar.read(path)
        parts = _cut(batches)
        sizes = {name: len(labels) for name, (labels, _) in parts.items()}
        _save(parts, _source(sizes, cifar.is_published(batches)), target)

    return prepared(folder / "image", key_of("read", FORMAT, cifar.stamps(path)), make)


def _cut(batches: Mapping[str, cifar.Images]) -> Parts:
    """Return the first nine tenths of the training batches, in their order, the rest of them, and the test batch."""
    labels, grey = (
        np.concatenate([getattr(batches[name], part) for name in cifar.TRAIN]) for part in ("labels", "grey")
    )
    cut = len(labels) * 9 // 10
    test = batches[cifar.TEST]
    return {
        "train": (labels[:cut], grey[:cut]),
        "validation": (labels[cut:], grey[cut:]),
        "test": (test.labels, test.grey),
    }


def _source(sizes: Mapping[str, int], published: bool) -> Source:
    licence = "none stated; its author asks to cite Krizhevsky 2009"
    if published and sizes == SIZES:
        return Source("official", f"CIFAR-10 in grey, {counted(sizes)}", licence)
    return Source(
        "user",
        f"files in CIFAR-10's layout that are not the published ones bit for bit, in grey, {counted(sizes)}, "
        f"published {counted(SIZES)}",
    )


def _save(parts: Parts, source: Source, target: Path) -> None:
    for name, (labels, pixels) in parts.items():
        offsets = np.arange(len(labels) + 1) * pixels.shape[1]
        ExampleSplit(pixels.reshape(-1), offsets, labels).save(target, name)
    save_known(target, source, trivial_baselines(parts["train"], parts["test"]))
