"""Files of a data set, read from a tar archive or a folder without unpacking anything.

An archive comes from strangers: nothing of it is written to disk, and a member whose name or kind could reach outside
of it is an error that names it.
"""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from attention_arena.errors import TaskError

LARGEST = 2**30
"""Bytes of one member: more than any file of a known data set, less than what exhausts a machine."""
SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class Member(NamedTuple):
    """A file: its path inside the archive or folder, POSIX style, and its content."""

    name: str
    content: bytes


def is_archive(path: Path) -> bool:
    """Whether the name is that of a tar archive."""
    return path.name.endswith(SUFFIXES)


def members(path: Path, wanted: Callable[[str], bool] = lambda name: True) -> Iterator[Member]:
    """Yield the wanted files of a tar archive or a folder: an archive's in its order, a folder's sorted by path.

    Raises TaskError for what is neither, for a damaged archive, and for a member that is a link, a device, larger than
    `LARGEST`, or named such that it lies outside (absolute, or with `..`).
    """
    path = path.expanduser()
    if path.is_dir():
        yield from _folder(path, wanted)
    elif path.is_file():
        yield from _archive(path, wanted)
    else:
        raise TaskError(f"nothing at {path.absolute()}: expected a folder, or an archive ({', '.join(SUFFIXES)})")


def _folder(root: Path, wanted: Callable[[str], bool]) -> Iterator[Member]:
    names = sorted(file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file())
    for name in names:
        if wanted(name):
            yield Member(name, read_bytes(root / name))


def _archive(path: Path, wanted: Callable[[str], bool]) -> Iterator[Member]:
    last = "its beginning"
    try:
        with tarfile.open(path, "r|*") as archive:
            for info in archive:
                last = info.name
                _require_harmless(path, info)
                name = PurePosixPath(info.name).as_posix()
                if info.isfile() and wanted(name):
                    file = archive.extractfile(info)
                    assert file is not None
                    yield Member(name, file.read())
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        raise TaskError(
            f"{path}: damaged or cut short after {last!r} ({error}); expected a tar archive. Fetch it again"
        ) from error


def _require_harmless(path: Path, info: tarfile.TarInfo) -> None:
    name = PurePosixPath(info.name)
    reason = None
    if name.is_absolute() or ".." in name.parts or "\\" in info.name or "\0" in info.name:
        reason = "its name leads outside the archive"
    elif info.issym() or info.islnk():
        reason = f"it is a link to {info.linkname!r}"
    elif not (info.isfile() or info.isdir()):
        reason = "it is neither a file nor a folder"
    elif info.size > LARGEST:
        reason = f"it has {info.size:,} bytes, more than {LARGEST:,}"
    if reason is not None:
        raise TaskError(f"{path}: member {info.name!r} is refused, because {reason}; fetch it from its publisher")


def read_bytes(path: Path) -> bytes:
    """Return the content of a file; raises TaskError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise TaskError(f"cannot read {path}: {error.strerror}. Check the path and its permissions") from error
