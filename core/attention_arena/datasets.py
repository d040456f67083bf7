"""Official data: what a task reads as its authors published it, where it lies, and how a folder of it is checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

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
    """Examples (or tokens) by split or file, as far as they were found."""
    problems: tuple[str, ...] = ()
    """What is missing or damaged, each with file and place."""
    complete: bool = False
    """Everything of the official release is there and right."""


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


def place_of(name: str, folder: Path) -> Path:
    """Return where `arena data get` keeps the data set of that name, under the data folder."""
    return folder / OFFICIAL / name


def locate(name: str, path: Path | None, folder: Path) -> Path:
    """Return where the official data set `name` lies: at `path` if given, else where `arena data get` keeps it.

    Raises TaskError, with the ways out, where nothing is there.
    """
    found = place_of(name, folder) if path is None else path.expanduser()
    if found.exists():
        return found
    if path is not None:
        raise TaskError(f"nothing at {found.absolute()}: `path` must name a folder or archive of {name}")
    raise TaskError(
        f"{name} is not at {found}: fetch it with `arena data get {name}`, or give `path` the folder or archive that"
        " has it, or use the task's stand-in (`arena list tasks --options`)"
    )
