"""Pathfinder's options, and its data: generated, or read from the Long Range Arena's files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from attention_arena import lra_release
from attention_arena.datasets import locate
from attention_arena.objectives import Classification
from attention_arena.prepared import key_of, prepared, progress
from attention_arena.splits import ExampleSplit
from attention_arena.task import Source, TaskData, TaskError, TaskNeeds
from attention_arena_tasks.pathfinder import release
from attention_arena_tasks.pathfinder.baselines import Labels, trivial_baselines
from attention_arena_tasks.pathfinder.drawing import draw_into
from attention_arena_tasks.pathfinder.generate import Range, layout
from attention_arena_tasks.pathfinder.recipe import Difficulty, Size
from attention_arena_tasks.pathfinder.stamps import Bytes
from attention_arena_tasks.pictures import SPLITS, counted, open_pictures, save_known
from attention_arena_tasks.sourced import SourcedOptions

N_CLASSES = 2
FORMAT = 2
"""Of the prepared files; another number makes them anew."""
ROWS_AT_ONCE = 1024


class PathfinderOptions(SourcedOptions):
    """Options of Pathfinder; the defaults are the Long Range Arena's."""

    source: Literal["generated", "official"] = Field("generated", description="made here, or the LRA's own images")
    path: Path | None = Field(
        None, description="official only: the LRA's release, packed or not; null: where `arena data get` keeps it"
    )
    size: Size = Field(32, description="pixels along a side: a sequence has their square")
    difficulty: Difficulty = Field(
        "curv_contour_length_14", description="targets of 6, 9 or 14 paddles, as the LRA's folders are called"
    )
    n_train: int = Field(160_000, ge=1, description="images to generate for training")
    n_validation: int = Field(20_000, ge=1, description="images to generate for validation")
    n_test: int = Field(20_000, ge=1, description="images to generate for the test")
    seed: int = Field(0, ge=0, description="seed of the generated data, not of the run")


class PathXOptions(PathfinderOptions):
    """Options of Path-X, which is Pathfinder of 128 x 128 pixels."""

    size: Size = Field(128, description="pixels along a side: a sequence has their square")


def needs(options: PathfinderOptions) -> TaskNeeds:
    """Return what a variant must be able to do."""
    return TaskNeeds(objective().requires, options.size**2, causal=False)


def objective() -> Classification:
    """Return the objective; every image has the same size, so nothing is padded, and grey 0 is a pixel like others."""
    return Classification(N_CLASSES, padded=False)


def load(options: PathfinderOptions, folder: Path) -> TaskData:
    """Return the data, prepared under `folder` at first use."""
    ready = _read(options, folder) if options.source == "official" else _generated(options, folder)
    return open_pictures(ready, options.size**2, objective())


def _generated(options: PathfinderOptions, folder: Path) -> Path:
    sizes = {"train": options.n_train, "validation": options.n_validation, "test": options.n_test}
    source = Source(
        "generated",
        f"{options.difficulty}, {options.size} x {options.size}, drawn with the Long Range Arena's settings, seed "
        f"{options.seed}: {counted(sizes)}",
    )

    def make(target: Path) -> None:
        labels = {}
        with progress(sum(sizes.values()), f"pathfinder {options.size}: drawing", "image") as done:
            for part, (name, n) in enumerate(sizes.items()):
                images = Range(options.seed, part, 0, n)
                labels[name] = layout(images)[1]
                file = _pixels(target, name, n, options.size)
                draw_into(file, images, options.size, options.difficulty, done.update)
        _save(target, labels, options.size, source)

    asked = [FORMAT, options.size, options.difficulty, sizes, options.seed]
    return prepared(folder / "pathfinder", key_of("generated", *asked), make)


def _read(options: PathfinderOptions, folder: Path) -> Path:
    """Read the release's images; they count as official when they are as many."""
    path, size = locate(lra_release.NAME, options.path, folder), options.size

    def make(target: Path) -> None:
        found = release.find(path, size, options.difficulty)
        labels, empty = _copy(found, target)
        official = release.is_official(size, options.difficulty, len(found.labels), empty)
        counts = {name: len(labels[name]) for name in SPLITS}
        skipped = f"; {len(empty)} empty image{'' if len(empty) == 1 else 's'} skipped" if empty else ""
        words = f"{options.difficulty}, {size} x {size}: {counted(counts)}, split by a hash of their paths{skipped}"
        if official:
            source = Source("official", f"Long Range Arena's images, {words}", "Apache-2.0")
        else:
            of = f"not its {release.N_IMAGES:,}" if len(found.labels) != release.N_IMAGES else "not those it has empty"
            source = Source("user", f"images in the Long Range Arena's layout, {words}; {of}")
        _save(target, labels, size, source)

    seen = [FORMAT, size, options.difficulty, release.fingerprint(path, size, options.difficulty)]
    return prepared(folder / "pathfinder", key_of("read", *seen), make)


def _copy(found: release.ImageSet, target: Path) -> tuple[dict[str, Labels], list[str]]:
    """Copy the images of a set to files of pixels, by split; return the labels of those, and which images are empty."""
    names: dict[str, list[str]] = {name: [] for name in SPLITS}
    for name in found.labels:
        names[release.split_of(name)].append(name)
    for split, listed in names.items():
        if not listed:
            raise TaskError(
                f"{found.place} has {len(found.labels)} images, and none of them falls into {split}: add more"
            )
    pixels = {
        split: np.lib.format.open_memmap(_pixels(target, split, len(listed), found.size), mode="r+")
        for split, listed in names.items()
    }
    rows = {name: (split, row) for split, listed in names.items() for row, name in enumerate(listed)}
    with progress(len(rows), f"pathfinder {found.size}: reading", "image") as done:

        def write(name: str, image: Bytes) -> None:
            split, row = rows[name]
            pixels[split][row] = image
            done.update(1)

        empty = frozenset(release.load_pixels(found, write))
    labels = {}
    for split, listed in names.items():
        kept = np.array([name not in empty for name in listed])
        _close_up(pixels[split], kept)
        there = [name for name, is_kept in zip(listed, kept.tolist(), strict=True) if is_kept]
        labels[split] = np.array([found.labels[name] for name in there], dtype=np.uint8)
        (target / f"{split}.paths.txt").write_text("".join(f"{name}\n" for name in there))
    return labels, sorted(empty)


def _close_up(pixels: Bytes, kept: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> None:
    """Move the rows that are kept together, to the front."""
    if kept.all():
        return
    rows = np.flatnonzero(kept)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[start : start + ROWS_AT_ONCE]
        pixels[start : start + len(some)] = pixels[some]


def _pixels(target: Path, name: str, n: int, size: int) -> Path:
    """Return a new file of n black images."""
    file = target / f"{name}.pixels.npy"
    np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=(n, size, size)).flush()
    return file


def _save(target: Path, labels: Mapping[str, Labels], size: int, source: Source) -> None:
    """Turn the files of pixels into splits, and write what is known of them beside."""
    splits = {}
    for name in SPLITS:
        file, n = target / f"{name}.pixels.npy", len(labels[name])
        tokens = np.load(file, mmap_mode="r").reshape(-1)[: n * size**2]
        ExampleSplit(tokens, np.arange(n + 1) * size**2, labels[name]).save(target, name)
        del tokens
        file.unlink()
        splits[name] = ExampleSplit.open(target, name)
    save_known(target, source, trivial_baselines(splits["train"], splits["test"], size))
