"""Files of a data set, read from a tar or zip archive or a folder without unpacking anything.

An archive comes from strangers: nothing of it is written to disk, a member whose name or kind could reach outside of it
is an error that names it, and so is an archive that is damaged, cut short, or would never end: what is read at once and
what is read in all are bounded (`LARGEST`, `MOST`).
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, NoReturn

from attention_arena.errors import TaskError

LARGEST = 2**30
"""Bytes of one member that is read whole: more than any such file of a known data set, less than exhausts a machine."""
MOST = 2**36
"""Bytes of an unpacked archive, read or passed over: three times the largest known release; a bomb ends in minutes."""
LONGEST_HEADER = 2**20
"""Bytes of a header that only describes the next one, which is held in memory."""
BLOCK = 2**18
SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
PACKERS: dict[bytes, Callable[[Path], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
"""What a packed file begins with, and what opens it."""
EXTENSIONS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip
"""Kinds of headers that only describe the next one."""
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, OSError)
"""What damage looks like to the readers of archives."""


class Member(NamedTuple):
    """A file: its path inside the archive or folder, POSIX style, and its content."""

    name: str
    content: bytes


class Stream(NamedTuple):
    """A file to be read before the next one is asked for: its path, its bytes in number, and a reader of them."""

    name: str
    size: int
    file: io.BufferedReader


def is_archive(path: Path) -> bool:
    """Whether the name is that of an archive, or the file turns out to be one."""
    if path.name.endswith(SUFFIXES):
        return True
    try:
        return path.is_file() and (_is_zip(path) or tarfile.is_tarfile(path))
    except DAMAGE:
        return False


def members(path: Path, wanted: Callable[[str], bool] = lambda name: True) -> Iterator[Member]:
    """Yield the wanted files of an archive or a folder: an archive's in its order, a folder's sorted by path.

    Raises TaskError as `streams` does, and for a wanted file larger than `LARGEST`.
    """
    for name, size, file in streams(path, wanted):
        if size > LARGEST:
            _refuse(path, name, f"it has {size:,} bytes, more than {LARGEST:,}")
        yield Member(name, file.read())


def streams(path: Path, wanted: Callable[[str], bool] = lambda name: True) -> Iterator[Stream]:
    """Yield the wanted files as `members` does, to be read piece by piece, however large.

    Raises TaskError, here and from the readers, for what is neither archive nor folder, for what cannot be read, for a
    damaged archive, and for a member, wanted or not, that is a link, a device, encrypted, named such that it lies
    outside (absolute, or with `..`), or reaches beyond `MOST` bytes of its archive.
    """
    path = path.expanduser()
    if path.is_dir():
        yield from _folder(path, wanted)
    elif path.is_file():
        yield from (_zip if _is_zip(path) else _archive)(path, wanted)
    else:
        raise TaskError(f"nothing at {path.absolute()}: expected a folder, or an archive ({', '.join(SUFFIXES)})")


def read_bytes(path: Path) -> bytes:
    """Return the content of a file; raises TaskError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _folder(root: Path, wanted: Callable[[str], bool]) -> Iterator[Stream]:
    def complain(error: OSError) -> NoReturn:
        raise _unreadable(Path(error.filename or root), error) from error

    found = [Path(folder) / name for folder, _, names in os.walk(root, onerror=complain) for name in names]
    files = {file.relative_to(root).as_posix(): file for file in found if file.is_file()}
    for name in sorted(files):
        if not wanted(name):
            continue
        try:
            file = files[name].open("rb", buffering=0)
        except OSError as error:
            raise _unreadable(files[name], error) from error
        with file:
            size = os.fstat(file.fileno()).st_size
            yield Stream(name, size, _guarded(file, partial(_unreadable, files[name])))


def _archive(path: Path, wanted: Callable[[str], bool]) -> Iterator[Stream]:
    last = "its beginning"

    def damaged(error: Exception) -> TaskError:
        reason = str(error) or type(error).__name__
        return TaskError(
            f"{path}: damaged or cut short after {last!r} ({reason}); expected a tar archive. Fetch it again"
        )

    try:
        with (
            _unpacked(path) as unpacked,
            tarfile.open(fileobj=unpacked, mode="r|", bufsize=BLOCK, tarinfo=_Header) as archive,
        ):
            while (info := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # a release has millions, and all would be kept
                last = info.name
                place = PurePosixPath(info.name)
                _require_harmless(path, info, place)
                name = place.as_posix()
                file = archive.extractfile(info) if info.isfile() and wanted(name) else None
                if file is not None:
                    yield Stream(name, info.size, _guarded(file, damaged))
            _drain(path, unpacked)
    # tarfile lets numbers and texts of a header fail that cannot be, and descriptions that describe each other.
    except (*DAMAGE, ValueError, OverflowError, RecursionError) as error:
        raise damaged(error) from error


def _is_zip(path: Path) -> bool:
    """Whether the file begins as a zip archive does, with members or without any."""
    try:
        with path.open("rb") as file:
            return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except OSError as error:
        raise _unreadable(path, error) from error


def _zip(path: Path, wanted: Callable[[str], bool]) -> Iterator[Stream]:
    last = "its beginning"

    def damaged(error: Exception) -> TaskError:
        return TaskError(f"{path}: damaged or cut short at {last!r} ({error}); expected a zip archive. Fetch it again")

    try:
        with zipfile.ZipFile(path) as archive:
            total = 0
            for info in archive.infolist():
                last = info.orig_filename
                total += info.file_size
                _require_harmless_zipped(path, info, total)
                name = PurePosixPath(info.filename).as_posix()
                if not info.is_dir() and wanted(name):
                    with archive.open(info) as file:
                        yield Stream(name, info.file_size, _guarded(file, damaged))
    # zipfile says NotImplementedError for a packing that it does not know.
    except (*DAMAGE, NotImplementedError) as error:
        raise damaged(error) from error


def _unpacked(path: Path) -> IO[bytes]:
    """Open the archive by what it is, whatever its name; unlike tarfile's own reader, this one holds checksums."""
    with path.open("rb") as file:
        start = file.read(6)
    unpack = next((opener for magic, opener in PACKERS.items() if start.startswith(magic)), None)
    return path.open("rb") if unpack is None else unpack(path)


def _drain(path: Path, unpacked: IO[bytes]) -> None:
    """Read what follows the archive's end, which is padding and the packer's checksum."""
    while unpacked.read(BLOCK):
        if unpacked.tell() > MOST:
            raise TaskError(f"{path}: refused, because more than {MOST:,} bytes are packed in it")


class _Header(tarfile.TarInfo):
    """A header that must be sound: tarfile takes a damaged one, and the end of the file, for the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        if len(buf) < tarfile.BLOCKSIZE:
            raise tarfile.ReadError("the mark of its end is missing")
        if not any(buf):
            return super().frombuf(buf, encoding, errors)
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"no header of a member where one is expected: {error}") from error
        if header.size < 0:
            raise tarfile.ReadError(f"a member of {header.size} bytes")
        if header.type in EXTENSIONS and header.size > LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {header.size:,} bytes")
        return header


def _guarded(file: Any, damaged: Callable[[Any], TaskError]) -> io.BufferedReader:
    """Return a reader of `file` that raises a TaskError where something is wrong with it."""
    return io.BufferedReader(_Guarded(file, damaged), BLOCK)


class _Guarded(io.RawIOBase):
    def __init__(self, file: IO[bytes], damaged: Callable[[Any], TaskError]) -> None:
        self._file, self._damaged = file, damaged

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            chunk = self._file.read(len(buffer))
        except DAMAGE as error:
            raise self._damaged(error) from error
        buffer[: len(chunk)] = chunk
        return len(chunk)


def _require_harmless(path: Path, info: tarfile.TarInfo, place: PurePosixPath) -> None:
    if place.is_absolute() or ".." in place.parts or "\\" in info.name or "\0" in info.name:
        _refuse(path, info.name, "its name leads outside the archive")
    if info.issym() or info.islnk():
        _refuse(path, info.name, f"it is a link to {info.linkname!r}")
    if not (info.isfile() or info.isdir()) or info.issparse():
        _refuse(path, info.name, "it is neither a plain file nor a folder")
    if info.size < 0:
        _refuse(path, info.name, f"it has {info.size} bytes")
    if info.offset_data + info.size > MOST:
        _refuse(path, info.name, f"it reaches beyond {MOST:,} bytes, more than a data set has")


def _require_harmless_zipped(path: Path, info: zipfile.ZipInfo, total: int) -> None:
    name, kind = PurePosixPath(info.orig_filename), stat.S_IFMT(info.external_attr >> 16)
    if name.is_absolute() or ".." in name.parts or any(bad in info.orig_filename for bad in "\\\0"):
        _refuse(path, info.orig_filename, "its name leads outside the archive")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        _refuse(path, info.orig_filename, "it is neither a plain file nor a folder")
    if info.flag_bits & 1:
        _refuse(path, info.orig_filename, "it is encrypted")
    if total > MOST:
        _refuse(path, info.orig_filename, f"it reaches beyond {MOST:,} bytes, more than a data set has")


def _refuse(path: Path, name: str, reason: str) -> NoReturn:
    raise TaskError(f"{path}: member {name!r} is refused, because {reason}; fetch it from its publisher")


def _unreadable(path: Path, error: OSError) -> TaskError:
    return TaskError(f"cannot read {path}: {error.strerror}. Check the path and its permissions")
