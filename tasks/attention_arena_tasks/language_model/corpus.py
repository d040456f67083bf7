"""Text for the language model: the running Python's own standard library, a file, or a folder of files.

A folder's files go whole to train, validation or test, by a hash of their path; nothing depends on the order in which a
file system lists them. Within a split they are ordered by the same hash, so that the first bytes of a split are a fair
sample of it, and separated by a zero byte. A single file is cut by position.
"""

from __future__ import annotations

import hashlib
import os
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from attention_arena.task import TaskError

SEPARATOR = b"\0"
SHARES = {"train": 90, "validation": 5, "test": 5}
"""Per cent of the files, or of a single file's bytes."""
LEFT_OUT = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"})
"""Folders of the standard library's that are tests, other people's code, or no sources."""
BUILD_SETTINGS = ("config-", "_sysconfigdata")
"""How the names begin that differ from one build of a version to another."""

Caps = Mapping[str, int | None]


class Files(NamedTuple):
    """Files of a corpus, each with its path relative to `root`, POSIX style and sorted."""

    root: Path
    names: tuple[str, ...]


def standard_library() -> Files:
    """Return the .py sources of the running interpreter's standard library, without tests and build settings."""
    root = Path(sysconfig.get_path("stdlib"))
    names = []
    for folder, below, files in os.walk(root):
        below[:] = [name for name in below if name not in LEFT_OUT and not name.startswith(BUILD_SETTINGS)]
        names += [
            (Path(folder) / name).relative_to(root).as_posix()
            for name in files
            if name.endswith(".py") and not name.startswith(BUILD_SETTINGS)
        ]
    return Files(root, tuple(sorted(names)))


def folder_files(root: Path, patterns: Iterable[str]) -> Files:
    """Return the files below `root` that match any of `patterns`, hidden ones apart."""
    found = {path.relative_to(root) for pattern in patterns for path in root.glob(pattern) if path.is_file()}
    return Files(root, tuple(sorted(path.as_posix() for path in found if not _hidden(path))))


def split_files(files: Files, caps: Caps) -> dict[str, bytes]:
    """Return the bytes of each split of many files, each split no longer than its cap."""
    by_split: dict[str, list[str]] = {split: [] for split in SHARES}
    for name in sorted(files.names, key=_digest):
        by_split[split_of(name)].append(name)
    return {split: _concatenate(files.root, names, caps[split]) for split, names in by_split.items()}


def split_file(file: Path, caps: Caps) -> dict[str, bytes]:
    """Return consecutive parts of one file, each no longer than its cap."""
    size = _size(file)
    parts, start, percent = {}, 0, 0
    for split, share in SHARES.items():
        percent += share
        stop, cap = size * percent // 100, caps[split]
        parts[split] = _read(file, start, stop - start if cap is None else min(cap, stop - start))
        start = stop
    return parts


def split_of(name: str) -> str:
    """Return the split that the file of this relative path belongs to."""
    place = int.from_bytes(_digest(name)[-8:], "big") % 100
    for split, share in SHARES.items():
        place -= share
        if place < 0:
            return split
    raise AssertionError("shares add up to 100")


def _concatenate(root: Path, names: list[str], cap: int | None) -> bytes:
    text = bytearray()
    for name in names:
        if cap is not None and len(text) >= cap:
            break
        if text:
            text += SEPARATOR
        text += _read(root / name)
    return bytes(text if cap is None else text[:cap])


def _read(path: Path, start: int = 0, size: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(size)
    except OSError as error:
        raise _unreadable(path, error) from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> TaskError:
    return TaskError(f"cannot read {path}: {error.strerror}. Check the path and its permissions")


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
