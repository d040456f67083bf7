"""Official data: what a task reads as its authors published it, where it lies, and how a folder of it is checked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from attention_arena.archives import is_archive
from attention_arena.errors import TaskError

OFFICIAL = "official"
"""Folder under the data folder in which `arena data get` keeps what it fetched, a folder for each data set."""


class RemoteFile(NamedTuple):
    """A file as its publishers offer it."""

    name: str
    """What it is called on disk."""
    urls: tuple[str, ...]
    """Where it is offered, the first one first; empty where nobody offers it any more."""
    checksum: str | None = None
    """`sha256:...` or `md5:...`, as published; None where nobody published one."""
    size: int | None = None
    """Bytes."""


class Inspection(NamedTuple):
    """What a folder or archive of a data set is."""

    layout: str
    """Which known layout it has, in words; empty if none."""
    counts: Mapping[str, int]
    """Examples (or tokens) by split or file that a task reads; 0 where one is missing or damaged."""
    problems: tuple[str, ...] = ()
    """What is missing or damaged, each with file and place."""
    complete: bool = False
    """Everything of the official release is there and right."""

    @property
    def usable(self) -> bool:
        """Whether a task can read it: the layout is a known one, and nothing that is read is missing or damaged."""
        return self.complete or (bool(self.layout) and bool(self.counts) and all(self.counts.values()))


@dataclass(frozen=True)
class DataSet:
    """Official data of a task; `inspect(path)` says what a folder or archive of it is, and raises nothing."""

    name: str
    summary: str
    licence: str
    homepage: str
    files: tuple[RemoteFile, ...]
    inspect: Callable[[Path], Inspection]
    options: Mapping[str, object] = field(default_factory=dict)
    """Options of the task that read it."""


def files_of(name: str, declared: Mapping[str, DataSet]) -> tuple[RemoteFile, ...]:
    """Return the files of a data set that one or several tasks, the keys of `declared`, read.

    Raises TaskError where two tasks mean different files by one name.
    """
    files: dict[str, tuple[str, RemoteFile]] = {}
    for task, data_set in declared.items():
        for file in data_set.files:
            first, known = files.setdefault(file.name, (task, file))
            if known != file:
                raise TaskError(f"{name}: tasks {first} and {task} mean different files by {file.name!r}")
    return tuple(file for _, file in files.values())


def checksum_of(path: Path, algorithm: str = "sha256") -> str:
    """Return `sha256:...` of a file's content."""
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def checksum_fault(path: Path, file: RemoteFile) -> str | None:
    """Return how the file at `path` differs from the published one in size or checksum; None where it does not."""
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        return f"{path.name} has {size:,} bytes, the published file {file.size:,}"
    if file.checksum is None:
        return None
    published = file.checksum.lower()
    found = checksum_of(path, published.partition(":")[0])
    return None if found == published else f"{path.name} is {found}, the published file {published}"


def place_of(name: str, folder: Path) -> Path:
    """Return where `arena data get` keeps the data set of that name, under the data folder."""
    return folder / OFFICIAL / name


def locate(name: str, path: Path | None, folder: Path) -> Path:
    """Return where the official data set `name` lies: at `path` if given, else where `arena data get` keeps it.

    A folder that has nothing but one archive stands for the archive. Raises TaskError, with the ways out, where nothing
    is there.
    """
    found = place_of(name, folder) if path is None else path.expanduser()
    if found.is_dir():
        try:
            inside = [each for each in found.iterdir() if not each.name.startswith(".")]
        except OSError as error:
            raise TaskError(f"cannot read {found}: {error.strerror}. Check its permissions") from error
        if len(inside) == 1 and is_archive(inside[0]):
            return inside[0]
        if inside or path is not None:
            return found
    elif found.exists():
        return found
    if path is not None:
        raise TaskError(f"nothing at {found.absolute()}: `path` must name a folder or archive of {name}")
    raise TaskError(
        f"{name} is not at {found}: fetch it with `arena data get {name}`, or give `path` the folder or archive that"
        " has it, or leave `source` at its default, which needs no download"
    )
