"""Reads a published corpus: from its archive, or a folder, or the one file that it is, without unpacking anything."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from attention_arena.archives import is_archive, members, read_bytes
from attention_arena.datasets import DataSet, Inspection
from attention_arena.prepared import progress
from attention_arena.task import TaskError
from attention_arena_tasks.language_model.corpus import stamp
from attention_arena_tasks.language_model.releases import RELEASES, Release
from attention_arena_tasks.language_model.texts import SPLITS, Text, cuts
from attention_arena_tasks.language_model.tokenisers import words_of


class Found(NamedTuple):
    """A file of a release: the part that it is, its name for errors, and its content."""

    part: str
    name: str
    content: bytes


def files_of(release: Release, path: Path) -> Iterator[Found]:
    """Yield the release's files at `path`, in the order in which they lie there.

    Raises TaskError for a damaged archive, for two files that claim the same part, and where there are none.
    """
    seen: dict[str, str] = {}
    for name, content in _candidates(release, path):
        part = release.part_of(name) or "whole"
        base = PurePosixPath(name).name
        claimed = base if release.many else part
        if claimed in seen:
            raise TaskError(
                f"{path}: both {seen[claimed]} and {name} are {part} of {release.name}; `path` must name the folder or "
                "archive of one release"
            )
        seen[claimed] = name
        yield Found(part, f"{path}: {name}" if name != path.name else str(path), content)
    if not seen:
        raise TaskError(f"{path.absolute()} has no file of {release.name}: expected {release.layout}")


def _candidates(release: Release, path: Path) -> Iterator[tuple[str, bytes]]:
    def wanted(name: str) -> bool:
        return release.part_of(name) is not None

    if path.is_file() and not is_archive(path):
        if "whole" not in release.patterns:
            raise TaskError(f"{path} is one file, but {release.name} is a folder or archive with {release.layout}")
        yield path.name, read_bytes(path)
        return
    for place in _places(path, wanted):
        for member in members(place, wanted):
            yield member.name, member.content


def _places(path: Path, wanted: Callable[[str], bool]) -> list[Path]:
    """Return the folder itself if it has files of the release, or else the archives in it."""
    if not path.is_dir():
        return [path]
    inside = [file for file in sorted(path.rglob("*")) if file.is_file()]
    if any(wanted(file.relative_to(path).as_posix()) for file in inside):
        return [path]
    return [file for file in inside if is_archive(file)]


def texts_of(release: Release, path: Path) -> Iterator[Text]:
    """Yield the release's texts: a file each, or the three parts of the one file."""
    for part, name, content in files_of(release, path):
        if part != "whole":
            yield Text(part, PurePosixPath(name).name if release.many else "", name, content)
            continue
        for split, start, stop in cuts(len(content)):
            yield Text(split, "", name, content[start:stop], start)


def stamps_of(release: Release, path: Path) -> list[object]:
    """Return a JSON value that is another one when a file at `path` has changed."""
    if path.is_file():
        return [str(path.resolve()), *stamp(path)]
    names = [file for file in sorted(path.rglob("*")) if file.is_file()]
    kept = [file for file in names if release.part_of(file.name) is not None or is_archive(file)]
    return [str(path.resolve()), *([file.relative_to(path).as_posix(), *stamp(file)] for file in kept)]


def examine(release: Release, path: Path) -> Inspection:
    """Return what is at `path`, read in full; raises nothing."""
    counts = dict.fromkeys(SPLITS, 0)
    problems: list[str] = []
    parts: dict[str, None] = {}
    try:
        with progress(0, f"{release.name}: checking", "B") as done:
            for part, name, content in files_of(release, path):
                parts[part] = None
                problems += _checksum_problem(release, part, name, content)
                _count(release, part, name, content, counts)
                done.update(len(content))
    except TaskError as error:
        return Inspection("", dict.fromkeys(SPLITS, 0), (*problems, str(error)))
    layout = f"{release.name}: {', '.join(parts)}"
    missing = [split for split in SPLITS if not counts[split]]
    if missing:
        problems.append(
            f"{path}: nothing for {', '.join(missing)}; expected {release.layout}. Put the missing files there, or "
            f"fetch the whole with `arena data get {release.name}`"
        )
    problems += [
        f"{path}: {split} has {counts[split]:,} {_unit(release)}, the release {expected:,}"
        for split, expected in release.counts.items()
        if counts[split] and counts[split] != expected
    ]
    return Inspection(layout, counts, tuple(problems), complete=not problems)


def _unit(release: Release) -> str:
    return "bytes" if release.counted == "bytes" else "tokens"


def _checksum_problem(release: Release, part: str, name: str, content: bytes) -> list[str]:
    algorithm, _, expected = release.checksums.get(part, "").partition(":")
    if not expected or hashlib.new(algorithm, content, usedforsecurity=False).hexdigest() == expected:
        return []
    return [f"{name} is not the published file: its {algorithm} is another one ({len(content):,} bytes)"]


def _count(release: Release, part: str, name: str, content: bytes, counts: dict[str, int]) -> None:
    if part == "whole":
        counts.update({split: stop - start for split, start, stop in cuts(len(content))})
    else:
        counts[part] += sum(len(words) for words in words_of(Text(part, "", name, content)))


def _data_set(release: Release) -> DataSet:
    return DataSet(
        release.name,
        release.summary,
        release.licence,
        release.homepage,
        release.files,
        lambda path: examine(release, path),
        {"corpus": release.name},
    )


DATA_SETS = tuple(_data_set(release) for release in RELEASES.values())
