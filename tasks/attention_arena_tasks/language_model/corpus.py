"""Text that is everyone's own: the running Python's standard library, a file, or a folder of files.

A folder's files go whole to train, validation or test, by a hash of their path; nothing depends on the order in which a
file system lists them. Within a split they are ordered by the same hash, so that the first bytes of a split are a fair
sample of it, and separated by a zero byte. A single file is cut by position.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from attention_arena.archives import read_bytes
from attention_arena.python_sources import LICENCE, is_no_table, python_version, standard_library
from attention_arena.task import Source, TaskError
from attention_arena_tasks.language_model.texts import SHARES, Corpus, Text, cuts
from attention_arena_tasks.language_model.tokenisers import Tokeniser

SEPARATOR = b"\0"
WINDOW = 2**16
"""Bytes before a cut in which a place to cut is looked for."""


class Files(NamedTuple):
    """Files of a corpus, each with its path relative to `root`, POSIX style and sorted."""

    root: Path
    names: tuple[str, ...]


def library_corpus() -> Corpus:
    """Return the sources of the running interpreter's standard library, a stand-in for any real corpus."""
    try:
        sources = standard_library(is_no_table)
    except TaskError as error:
        raise TaskError(f"{error}, or give `corpus` the path of a text file or folder instead") from error
    version = python_version()
    description = f"sources of the Python {version} standard library, {len(sources)} files without tests and tables"
    digests = sorted([name, hashlib.sha256(text).hexdigest()] for name, text in sources.items())
    return Corpus(
        f"standard-library-{version}",
        lambda: _dealt_out(sources, sources.__getitem__),
        digests,
        Source("stand-in", description, LICENCE),
        f"{len(sources)} files of Python's standard library",
        SEPARATOR,
    )


def path_corpus(path: Path, patterns: Iterable[str], tokeniser: Tokeniser) -> Corpus:
    """Return the text of a file or of a folder's files; raises TaskError where there is none."""
    if path.is_dir():
        files = folder_files(path, patterns)
        if not files.names:
            raise TaskError(f"no file in {path.absolute()} matches {', '.join(patterns)}: set `patterns`")
        return Corpus(
            "folder",
            lambda: _dealt_out(files.names, lambda name: read_bytes(files.root / name)),
            [str(files.root.resolve()), [[name, *stamp(files.root / name)] for name in files.names]],
            Source("user", f"{len(files.names)} files of folder {path.absolute().name}, dealt out 90/5/5 by name"),
            f"{len(files.names)} files at {path}. A folder's files are dealt out whole, so give more of them, or one "
            "longer file",
            SEPARATOR,
        )
    if not path.exists():
        raise TaskError(
            f"no corpus at {path.absolute()}: expected a text file or a folder, or the name of a corpus "
            "(`arena list tasks --options`)"
        )
    return Corpus(
        "file",
        lambda: cut_file(path, tokeniser),
        [str(path.resolve()), *stamp(path)],
        Source("user", f"bytes of {path.name}, cut 90/5/5 by position"),
        f"{path}: give a longer file",
    )


def folder_files(root: Path, patterns: Iterable[str]) -> Files:
    """Return the files below `root` that match any of `patterns`, hidden ones apart."""
    found = {path.relative_to(root) for pattern in patterns for path in root.glob(pattern) if path.is_file()}
    return Files(root, tuple(sorted(path.as_posix() for path in found if not _hidden(path))))


def _dealt_out(names: Iterable[str], read: Callable[[str], bytes]) -> Iterator[Text]:
    for place, name in sorted((_digest(name).hex(), name) for name in names):
        yield Text(split_of(name), place, name, read(name))


def split_of(name: str) -> str:
    """Return the split that the file of this relative path belongs to."""
    place = int.from_bytes(_digest(name)[-8:], "big") % 100
    for split, share in SHARES.items():
        place -= share
        if place < 0:
            return split
    raise AssertionError("shares add up to 100")


def cut_file(path: Path, tokeniser: Tokeniser) -> Iterator[Text]:
    """Yield the three parts of a file, cut near 90 and 95 per cent, where no token is cut in two."""
    size, _ = stamp(path)
    try:
        with path.open("rb") as file:
            start = 0
            for split, _, stop in cuts(size):
                if stop < size:
                    begin = max(start, stop - WINDOW)
                    file.seek(begin)
                    stop = begin + tokeniser.whole(file.read(stop - begin))
                file.seek(start)
                yield Text(split, "", str(path), file.read(stop - start), start)
                start = stop
    except OSError as error:
        raise _unreadable(path, error) from error


def stamp(path: Path) -> tuple[int, int]:
    """Return the size and the time of the last change of a file."""
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    return status.st_size, status.st_mtime_ns


def _unreadable(path: Path, error: OSError) -> TaskError:
    return TaskError(f"cannot read {path}: {error.strerror}. Check the path and its permissions")


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
