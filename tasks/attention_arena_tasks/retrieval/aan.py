"""Reads document pairs as the Long Range Arena publishes them: `new_aan_pairs.{train,eval,test}.tsv`.

A line is `label<TAB>id<TAB>id<TAB>text<TAB>text`, without a header; quotes are characters like any other, and a label
is written as a float. The same paper is in many pairs, so its text is kept once.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from attention_arena import lra_release
from attention_arena.archives import streams
from attention_arena.datasets import Inspection, locate
from attention_arena.task import TaskError

FILES = {
    "new_aan_pairs.train.tsv": "train",
    "new_aan_pairs.eval.tsv": "validation",
    "new_aan_pairs.test.tsv": "test",
}
LAYOUTS = ("", "tsv_data", "lra_release/tsv_data", "lra_release/lra_release/tsv_data")
"""Where the files lie, seen from wherever the release was unpacked."""
COUNTS = {"train": 147_086, "validation": 18_090, "test": 17_437}
LABELS = {0.0: 0, 1.0: 1}
N_FIELDS = 5
LONGEST_LINE = 2**26
"""Bytes of a line, both texts together; more than any document has."""
WAY_OUT = "Fetch it again (`arena data get lra`), or leave `source` out for the stand-in"


class Pairs(NamedTuple):
    """Documents, each distinct, pairs of their places in that list, and the pairs' classes."""

    documents: list[bytes]
    pairs: list[tuple[int, int]]
    targets: list[int]


Advance = Callable[[int], object]


def read(path: Path, max_length: int, advance: Advance = lambda n: None) -> dict[str, Pairs]:
    """Return the pairs of each split, texts cut to `max_length` bytes; raise TaskError with what is wrong.

    `advance` is told of every pair that was read.
    """
    splits, problems = _scan(path, max_length, advance)
    if problems:
        more = f" ({len(problems) - 1} more such problems)" if len(problems) > 1 else ""
        raise TaskError(f"{problems[0]}{more}. {WAY_OUT}")
    return splits


def inspect(path: Path) -> Inspection:
    """Say what an archive or a folder is."""
    splits, problems = _scan(path, max_length=1)
    counts = {split: len(splits[split].pairs) if split in splits else 0 for split in COUNTS}
    if not problems:
        problems = [
            f"{path}: {split} has {counts[split]:,} pairs, the release has {COUNTS[split]:,}"
            for split in COUNTS
            if counts[split] != COUNTS[split]
        ]
    return Inspection("new_aan_pairs.*.tsv" if splits else "", counts, tuple(problems), complete=not problems)


def find(path: Path) -> Path:
    """Return the archive, or the folder with the files; raises TaskError where nothing is there."""
    place = locate(lra_release.NAME, path, Path())
    layouts = [place / layout for layout in LAYOUTS if any((place / layout / name).is_file() for name in FILES)]
    return layouts[0] if layouts else place


def stamp(place: Path) -> list[tuple[str, int, int]]:
    """Return name, size and time of change of an archive, or of the files in a folder."""
    files = [place, *(place / name for name in FILES if (place / name).is_file())]
    try:
        seen = [(str(file), file.stat()) for file in files]
    except OSError as error:
        raise TaskError(
            f"cannot read {error.filename}: {error.strerror}. Check the path and its permissions"
        ) from error
    return [(str(place.resolve()), 0, 0), *((name, stat.st_size, stat.st_mtime_ns) for name, stat in seen)]


def _scan(path: Path, max_length: int, advance: Advance = lambda n: None) -> tuple[dict[str, Pairs], list[str]]:
    """Return what can be read whole, by split, and every problem with its place."""
    found: dict[str, PurePosixPath] = {}
    splits: dict[str, Pairs] = {}
    problems: list[str] = []
    place = path
    try:
        place = find(path)
        for name, _, file in streams(place, _is_wanted):
            first = found.setdefault(FILES[PurePosixPath(name).name], PurePosixPath(name))
            beside = next(iter(found.values()))
            if first != PurePosixPath(name) or first.parent != beside.parent:
                problems.append(f"{place}: {name} is not beside {beside}; keep one copy of the files")
                continue
            try:
                splits[FILES[first.name]] = _pairs(file, max_length, advance)
            except ValueError as error:
                problems.append(f"{place}, {name}, {error}")
            if len(found) == len(FILES) and place.is_file():
                break  # nothing that follows in the archive is read here, and most of it is images
    except TaskError as error:
        problems.append(str(error))
    if not problems:
        missing = [name for name, split in FILES.items() if split not in found]
        problems += [f"{place}: no {name}; expected it here or in lra_release/tsv_data" for name in missing]
    return splits, problems


def _is_wanted(name: str) -> bool:
    return PurePosixPath(name).name in FILES


def _pairs(file: io.BufferedReader, max_length: int, advance: Advance) -> Pairs:
    """Return the pairs of a file; ValueError says in which line what is wrong."""
    places: dict[bytes, int] = {}
    pairs: list[tuple[int, int]] = []
    targets: list[int] = []
    for number, line in enumerate(_lines(file), start=1):
        try:
            target, *texts = _pair(line)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        first, second = (places.setdefault(text[:max_length], len(places)) for text in texts)
        pairs.append((first, second))
        targets.append(target)
        advance(1)
    if not pairs:
        raise ValueError("line 1: the file has no pairs")
    return Pairs(list(places), pairs, targets)


def _lines(file: io.BufferedReader) -> Iterator[bytes]:
    """Yield lines without their end; one beyond `LONGEST_LINE` comes cut, and is no pair then."""
    for line in iter(partial(file.readline, LONGEST_LINE), b""):
        yield line.removesuffix(b"\n").removesuffix(b"\r")


def _pair(line: bytes) -> tuple[int, bytes, bytes]:
    """Return class and texts of a line; ValueError says what is wrong with it."""
    fields = line.split(b"\t")
    if len(fields) != N_FIELDS:
        raise ValueError(f"expected label, two ids and two texts with tabs in between, got {len(fields)} fields")
    try:
        target = LABELS[float(fields[0])]
    except (ValueError, KeyError):
        raise ValueError(f"expected the label 0.0 or 1.0, got {fields[0][:20]!r}") from None
    try:
        line.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from error
    return target, fields[3], fields[4]
