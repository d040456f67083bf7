"""Reads Pathfinder as the Long Range Arena publishes it: folders of PNG images, and metadata in plain text.

A set of images is a size and a difficulty: `pathfinder<size>/<difficulty>/` has `metadata/<k>.npy`, which is text in
spite of its name, a line for each image, and `imgs/<k>/sample_<i>.png`. It may lie at any level of the archive's
layout, in a folder or still packed. Of a set that is there twice, as those of `pathfinder128` are, the inner copy is
read.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from attention_arena.archives import Member, members
from attention_arena.task import TaskError
from attention_arena_tasks.pathfinder.png import decode
from attention_arena_tasks.pathfinder.recipe import CONTOUR_LENGTH
from attention_arena_tasks.pathfinder.stamps import Bytes

N_IMAGES = 200_000
"""Images of a set in the release."""
EMPTY = {(32, "curv_baseline"): ("imgs/0/sample_172.png",)}
"""Images of the release that are known to be empty files."""
OUTER = ("lra_release/lra_release/", "lra_release/", "")
"""Where the archive keeps `pathfinder<size>`, the innermost place first."""
METADATA = re.compile(r"(?P<prefix>(?:.*/)?)metadata/(?P<batch>\d+)\.npy")
IMAGE = re.compile(r"imgs/(?P<batch>\d+)/sample_(?P<index>\d+)\.png")
PICKLED = b"\x93NUMPY"


class ImageSet(NamedTuple):
    """A set that was found: `root` to read from, `prefix` of its files' names there, and each image's class by name."""

    root: Path
    prefix: str
    size: int
    difficulty: str
    labels: Mapping[str, int]

    @property
    def place(self) -> str:
        """How messages name it; an image's name follows."""
        return _place(self.root, self.prefix)


def split_of(name: str) -> str:
    """Return the split of an image by its name, `imgs/<k>/sample_<i>.png`.

    The last hexadecimal digits of the name's SHA-256, 32 bits of them, modulo 10: 0 is the test, 1 validation, the rest
    for training. No split was ever published; this one needs no list, and an image keeps its split in any selection.
    """
    return {0: "test", 1: "validation"}.get(int(hashlib.sha256(name.encode()).hexdigest()[-8:], 16) % 10, "train")


def prefixes(size: int, difficulty: str) -> list[str]:
    """Return where a set may lie, seen from what `path` names, the innermost place first."""
    return [f"{outer}pathfinder{size}/{difficulty}/" for outer in OUTER] + [f"{difficulty}/", ""]


def find(path: Path, size: int, difficulty: str) -> ImageSet:
    """Return the set at `path`, which names it or whatever holds it, or raise TaskError."""
    places = prefixes(size, difficulty)
    found = survey(path, places)
    for prefix in places:
        if prefix in found:
            return ImageSet(path, prefix, size, difficulty, labels_of(path, found[prefix], difficulty))
    raise TaskError(
        f"no Pathfinder images of {size} x {size} and {difficulty} at {path.absolute()}: expected "
        f"pathfinder{size}/{difficulty}/metadata/*.npy and imgs/*/*.png, in a folder or in the Long Range Arena's "
        "archive. Give `path` the release, or leave `source` at `generated`"
    )


def survey(path: Path, places: Iterable[str]) -> dict[str, list[Member]]:
    """Return the files of metadata at those of the places where there are some."""
    if not path.is_dir():
        found: dict[str, list[Member]] = {}
        wanted = set(places)
        for member in members(path, lambda name: (m := METADATA.fullmatch(name)) is not None and m["prefix"] in wanted):
            found.setdefault(member.name.rpartition("metadata/")[0], []).append(member)
        return found
    folders = {place: path / place / "metadata" for place in places}
    return {
        place: [
            Member(f"{place}metadata/{name}", content)
            for name, content in members(folder, lambda name: METADATA.fullmatch(f"metadata/{name}") is not None)
        ]
        for place, folder in folders.items()
        if folder.is_dir()
    }


def labels_of(root: Path, files: list[Member], difficulty: str) -> dict[str, int]:
    """Return the classes that files of metadata give, by image, in the order of their numbers; raises TaskError."""
    labels: dict[str, int] = {}
    for name, content in sorted(files, key=lambda member: int(PurePosixPath(member.name).stem)):
        place = _place(root, name)
        for number, line in enumerate(lines_of(content, place), start=1):
            if not line.strip():
                continue
            try:
                image, label = parse(line, difficulty)
                if image in labels:
                    raise ValueError(f"{image} has a line already")
            except ValueError as error:
                raise TaskError(f"{place}, line {number}: {error}. Fetch or unpack the release again") from error
            labels[image] = label
    return labels


def _place(root: Path, name: str) -> str:
    return f"{root}: {name}" if root.is_file() else f"{root}/{name}"


def lines_of(content: bytes, place: str) -> list[str]:
    """Return the lines of a file of metadata; raises TaskError, with the file's `place`, if it is not plain text."""
    if content.startswith(PICKLED):
        raise TaskError(
            f"{place} is a binary NumPy file, as later versions of the generator write it. It is not opened, because it"
            " may hold pickled objects, which can run any code; the release has plain text, a line for each image:"
            " `imgs/0 sample_0.png 0 LABEL ...`. If you made the file yourself, write its rows with"
            " `numpy.savetxt(file, rows, fmt='%s')`"
        )
    try:
        return content.decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise TaskError(f"{place}, byte {error.start}: not plain text; fetch or unpack the release again") from error


def parse(line: str, difficulty: str) -> tuple[str, int]:
    """Return the image's name and class that a line of metadata gives; ValueError says what is wrong with it."""
    fields = line.split()
    if len(fields) < 6:
        raise ValueError(
            f"expected a folder, a file, a number, a class, continuity, contour length ..., got {line[:80]!r}"
        )
    name = f"{fields[0]}/{fields[1]}"
    if not IMAGE.fullmatch(name):
        raise ValueError(f"expected an image `imgs/<k> sample_<i>.png`, got {name[:80]!r}")
    if fields[3] not in ("0", "1"):
        raise ValueError(f"expected class 0 or 1 in the fourth field, got {fields[3][:20]!r}")
    if fields[5].removesuffix(".0") != str(CONTOUR_LENGTH[difficulty]):
        raise ValueError(
            f"contour length {fields[5][:20]!r} in the sixth field, but {difficulty} has {CONTOUR_LENGTH[difficulty]}: "
            "two difficulties are mixed up"
        )
    return name, int(fields[3])


def images_of(
    sets: Sequence[ImageSet], complain: Callable[[ImageSet, str], None]
) -> Iterator[tuple[ImageSet, str, Bytes | None]]:
    """Yield the set, name and pixels (size, size) of every listed image that is there; None where the file is empty.

    The sets share a root, and an archive is read once for all of them. `complain` is called with what is wrong with an
    image, which is then passed over, and at last with what is missing.
    """
    missing = {each.prefix: dict.fromkeys(each.labels) for each in sets}
    known = {each.prefix: each for each in sets}

    def wanted(name: str) -> bool:
        prefix, image = _cut(name)
        return prefix in known and image in known[prefix].labels

    for member in _all_members(sets, wanted):
        prefix, image = _cut(member.name)
        missing[prefix].pop(image, None)
        try:
            pixels = decode(member.content, known[prefix].size) if member.content else None
        except ValueError as error:
            complain(known[prefix], f"{known[prefix].place}{image}: {error}")
        else:
            yield known[prefix], image, pixels
    for each in sets:
        if left := missing[each.prefix]:
            others = f", nor are {len(left) - 1:,} others" if len(left) > 1 else ""
            complain(each, f"{each.place}{next(iter(left))} is listed but not there{others}")


def _cut(name: str) -> tuple[str, str]:
    """Return a file's prefix and its name from `imgs/` on."""
    prefix, imgs, rest = name.rpartition("imgs/")
    return prefix, imgs + rest


def _all_members(sets: Sequence[ImageSet], wanted: Callable[[str], bool]) -> Iterator[Member]:
    if sets and sets[0].root.is_file():
        yield from members(sets[0].root, wanted)
        return
    for each in sets:
        folder = each.root / each.prefix / "imgs"
        if folder.is_dir():
            start = f"{each.prefix}imgs/"
            for name, content in members(folder, lambda name, start=start: wanted(start + name)):  # type: ignore[misc]
                yield Member(start + name, content)


def is_official(size: int, difficulty: str, n_listed: int, empty: list[str]) -> bool:
    """Whether a set has as many images as the release, and those are empty that are so there."""
    return n_listed == N_IMAGES and tuple(empty) == EMPTY.get((size, difficulty), ())


def fingerprint(path: Path, size: int, difficulty: str) -> list[object]:
    """Return what changes when an archive does, or a set's metadata or lists of images in a folder."""
    files = [path]
    if path.is_dir():
        folders = [path / prefix for prefix in prefixes(size, difficulty)]
        files = [file for each in folders for file in (*sorted(each.glob("metadata/*")), *sorted(each.glob("imgs/*")))]
    return [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def load_pixels(found: ImageSet, write: Callable[[str, Bytes], object]) -> list[str]:
    """Hand every image's name and pixels to `write`; return the names of the empty ones.

    Raises TaskError for an image that is missing or cannot be read.
    """

    def fail(found: ImageSet, problem: str) -> None:
        raise TaskError(f"{problem}. Fetch or unpack the release again, or leave `source` at `generated`")

    empty = []
    for _, name, pixels in images_of([found], fail):
        if pixels is None:
            empty.append(name)
        else:
            write(name, pixels)
    return sorted(empty)
