"""CIFAR-10 (Krizhevsky 2009) as published: its binary and its Python layout, in a folder or in the archive.

Either layout has five batches to train on and one to test on, of 10,000 images: a class, and 1,024 red, 1,024 green and
1,024 blue pixels, row by row. The images and their order are the same in both.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from attention_arena.archives import is_archive, members
from attention_arena.datasets import Inspection
from attention_arena.errors import TaskError
from attention_arena.prepared import progress
from attention_arena_tasks.image import pickles
from attention_arena_tasks.image.grey import Pixels, to_grey

N_CLASSES = 10
N_COLOURS = 3 * 1024
RECORD = 1 + N_COLOURS
"""Bytes of an image in the binary layout: its class, then its pixels."""
TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST = "test_batch"
BATCHES = (*TRAIN, TEST)
PER_BATCH = 10_000
AGAIN = "fetch it again from https://www.cs.toronto.edu/~kriz/cifar.html"

CHECKSUMS: Mapping[str, str] = {
    "data_batch_1": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}
"""SHA-256 of a batch's records, which are its file in the binary layout."""


class Images(NamedTuple):
    """Images of a batch: `labels` (N,), `grey` (N, 1024), and whether they are the published ones, bit for bit."""

    labels: npt.NDArray[np.uint8]
    grey: Pixels
    published: bool


class Layout(NamedTuple):
    """How the batches are stored; `parse` maps a file's content to labels (N,) and colours (N, 3072)."""

    words: str
    suffix: str
    archive: str
    parse: Callable[[bytes], tuple[npt.NDArray[np.uint8], Pixels]]


def parse_binary(content: bytes) -> tuple[npt.NDArray[np.uint8], Pixels]:
    """Return labels and colours of a file of 3,073-byte records; ValueError says what is wrong with it."""
    n, over = divmod(len(content), RECORD)
    if over or not n:
        raise ValueError(
            f"byte {n * RECORD:,}: {over:,} bytes are left of a record of {RECORD:,}; the published file has"
            f" {PER_BATCH * RECORD:,} bytes, this one {len(content):,}"
        )
    records = np.frombuffer(content, dtype=np.uint8).reshape(n, RECORD)
    return _checked(records[:, 0], lambda i: f"record {i + 1:,} (byte {i * RECORD:,})"), records[:, 1:]


def parse_python(content: bytes) -> tuple[npt.NDArray[np.uint8], Pixels]:
    """Return labels and colours of a pickled batch, which is not unpickled; ValueError says what is wrong with it."""
    batch = pickles.read(content)
    labels, data = (batch.get(key) for key in (b"labels", b"data")) if isinstance(batch, dict) else (None, None)
    if not isinstance(labels, list) or not isinstance(data, np.ndarray):
        raise ValueError("expected a dictionary with a list 'labels' and an array 'data'")
    if data.shape != (len(labels), N_COLOURS) or not labels:
        raise ValueError(f"expected data of {len(labels)} x {N_COLOURS} bytes, as there are labels, got {data.shape}")
    odd = next((i for i, label in enumerate(labels) if type(label) is not int or not 0 <= label < N_CLASSES), None)
    if odd is not None:
        raise ValueError(f"label {odd + 1:,}: expected a class from 0 to {N_CLASSES - 1}, got {str(labels[odd])[:20]}")
    return np.array(labels, dtype=np.uint8), data


BINARY = Layout("binary layout", ".bin", "cifar-10-binary.tar.gz", parse_binary)
PYTHON = Layout("Python layout", "", "cifar-10-python.tar.gz", parse_python)
LAYOUTS = (BINARY, PYTHON)
FILES = {f"{batch}{layout.suffix}": (layout, batch) for layout in LAYOUTS for batch in BATCHES}


def read(path: Path) -> dict[str, Images]:
    """Return the six batches at `path`, by name, or raise TaskError."""
    by_layout: dict[Layout, dict[str, Images]] = {layout: {} for layout in LAYOUTS}
    with progress(len(BATCHES), "image: reading CIFAR-10", "batch") as done:
        for layout, batch, place, content in _contents(path):
            if batch in by_layout[layout]:
                raise TaskError(f"{place}: a second {batch}{layout.suffix}; give `path` a folder that has one of each")
            by_layout[layout][batch] = _images(layout, batch, place, content)
            done.update(1)
    for batches in by_layout.values():
        if len(batches) == len(BATCHES):
            return {name: batches[name] for name in BATCHES}
    layout, found = max(by_layout.items(), key=lambda item: len(item[1]))
    missing = ", ".join(f"{name}{layout.suffix}" for name in BATCHES if name not in found)
    raise TaskError(
        f"{path.absolute()}: no {missing}; expected CIFAR-10's six batches, as {BINARY.archive} or {PYTHON.archive} has"
        " them, in that archive or in a folder"
    )


def inspect(path: Path) -> Inspection:
    """Say what a folder or archive of CIFAR-10 is."""
    found: dict[Layout, dict[str, Images | None]] = {layout: {} for layout in LAYOUTS}
    problems = []
    try:
        for layout, batch, place, content in _contents(path):
            if batch in found[layout]:
                problems.append(f"{place}: a second {batch}{layout.suffix}")
                continue
            try:
                found[layout][batch] = _images(layout, batch, place, content)
            except TaskError as error:
                found[layout][batch] = None
                problems.append(str(error))
    except TaskError as error:
        problems.append(str(error))
    layout, batches = max(found.items(), key=lambda item: len(item[1]))
    if not batches:
        return Inspection("", {}, tuple(problems) or (f"{path}: none of CIFAR-10's batches is there",))
    whole = {name: images for name in BATCHES if (images := batches.get(name)) is not None}
    missing = [f"{name}{layout.suffix} is missing" for name in BATCHES if name not in batches]
    problems += missing + _differences(whole)
    counts = {name: len(whole[name].labels) if name in whole else 0 for name in BATCHES}
    return Inspection(f"CIFAR-10, {layout.words}", counts, tuple(problems), complete=not problems)


def is_published(batches: Mapping[str, Images]) -> bool:
    """Whether all six batches are the published ones: counts, balance of classes and checksums."""
    return set(batches) == set(BATCHES) and not _differences(batches)


def stamps(path: Path) -> list[list[object]]:
    """Return what tells one state of the files at `path` from another: names, sizes and times."""
    path = path.expanduser()
    files = [path] if path.is_file() else []
    for folder, _, names in os.walk(path):
        files += [Path(folder) / name for name in names if name in FILES or is_archive(Path(name))]
    return [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in sorted(files)]


def _contents(path: Path) -> Iterator[tuple[Layout, str, str, bytes]]:
    """Yield layout, batch, place and content of each file that is one of the batches by its name."""
    path = path.expanduser()
    packed = [path / layout.archive for layout in LAYOUTS if (path / layout.archive).is_file()]
    where = packed[0] if packed else path
    for name, content in members(where, lambda name: PurePosixPath(name).name in FILES):
        layout, batch = FILES[PurePosixPath(name).name]
        yield layout, batch, f"{where}: {name}" if where.is_file() else str(where / name), content


def _images(layout: Layout, batch: str, place: str, content: bytes) -> Images:
    try:
        labels, colours = layout.parse(content)
    except ValueError as error:
        raise TaskError(f"{place}, {error}; {AGAIN}") from error
    records = np.concatenate([labels[:, None], colours], axis=1)
    published = hashlib.sha256(records.data).hexdigest() == CHECKSUMS[batch]
    return Images(labels, to_grey(colours), published)


def _checked(labels: npt.NDArray[np.uint8], where: Callable[[int], str]) -> npt.NDArray[np.uint8]:
    odd = np.flatnonzero(labels >= N_CLASSES)
    if len(odd):
        i = int(odd[0])
        raise ValueError(f"{where(i)}: expected a class from 0 to {N_CLASSES - 1}, got {labels[i]}")
    return labels.copy()


def _differences(batches: Mapping[str, Images]) -> list[str]:
    """Return how batches differ from the published ones: in number, in balance, and else in content."""
    said = [
        f"{name} has {len(images.labels):,} images, the published one {PER_BATCH:,}"
        for name, images in batches.items()
        if len(images.labels) != PER_BATCH
    ]
    for part, names in (("train", TRAIN), ("test", (TEST,))):
        labels = [batches[name].labels for name in names if name in batches]
        if len(labels) < len(names) or sum(map(len, labels)) != PER_BATCH * len(names):
            continue
        each = PER_BATCH * len(names) // N_CLASSES
        counted = np.bincount(np.concatenate(labels), minlength=N_CLASSES)
        said += [
            f"{part} has {n:,} images of class {c}, the published ones {each:,}"
            for c, n in enumerate(counted)
            if n != each
        ]
    return said + [
        f"{name} has another content than the published one: its checksum differs"
        for name, images in batches.items()
        if len(images.labels) == PER_BATCH and not images.published
    ]
