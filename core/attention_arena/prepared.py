"""Data that is prepared once, kept in a folder, and shared by every process that needs it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock
from tqdm import tqdm

from attention_arena.task import TaskError

MANIFEST = "manifest.json"


def data_folder() -> Path:
    """Return where prepared data is kept: the environment's ARENA_DATA, else the user's cache folder."""
    chosen = os.environ.get("ARENA_DATA")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("attention-arena")


def prepared(folder: Path, key: str, make: Callable[[Path], None]) -> Path:
    """Return `folder/key`, filled by `make` if it is not there intact.

    `make` gets an empty folder to write to. It runs in one process at a time, however many ask; its folder takes its
    name only when complete and on disk. Files that no longer match the manifest are made again.
    A folder that is intact is only read, so it may be write-protected. Raises TaskError when the folder cannot be used.
    """
    if not key or key in {".", ".."} or key != Path(key).name or key.startswith("."):
        raise ValueError(f"key must be a plain file name, got {key!r}")
    ready = folder / key
    if _intact(ready):
        return ready
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{key}.lock"):
            if not _intact(ready):
                _make(ready, make)
    except OSError as error:
        raise TaskError(
            f"cannot prepare {ready}: {error}. Make room or set ARENA_DATA to a folder that you can write to"
        ) from error
    return ready


def key_of(kind: str, *asked: object) -> str:
    """Return `kind-` and 16 hexadecimal digits: a key for data that these JSON values determine."""
    return f"{kind}-{hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]}"


def progress(total: int, description: str, unit: str) -> tqdm[Any]:
    """Return a progress bar for a `make` that takes long; it shows on a terminal only."""
    return tqdm(total=total, desc=description, unit=unit, leave=False, disable=not sys.stderr.isatty())


def _make(ready: Path, make: Callable[[Path], None]) -> None:
    """Replace `ready` by a fresh one; the caller holds the lock."""
    making = ready.with_name(f".{ready.name}.making")
    damaged = ready.with_name(f".{ready.name}.damaged")
    for leftover in (making, damaged):
        shutil.rmtree(leftover, ignore_errors=True)
    making.mkdir()
    try:
        make(making)
        (making / MANIFEST).write_text(json.dumps(_describe(making), indent=1, sort_keys=True))
        _flush(making)
        if ready.exists():
            ready.rename(damaged)
        making.rename(ready)
        _flush_entry(ready.parent)
    finally:
        for leftover in (making, damaged):
            shutil.rmtree(leftover, ignore_errors=True)


def _describe(folder: Path) -> dict[str, dict[str, Any]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in files
    }


def _intact(folder: Path) -> bool:
    """Return whether every file that the manifest names is there with its size and content."""
    try:
        described = json.loads((folder / MANIFEST).read_text())
        sizes_match = all((folder / name).stat().st_size == entry["bytes"] for name, entry in described.items())
        return sizes_match and all(_sha256(folder / name) == entry["sha256"] for name, entry in described.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(folder: Path) -> None:
    """Force everything in `folder` to disk, so that the rename never precedes the content."""
    for path in folder.rglob("*"):
        _flush_entry(path)
    _flush_entry(folder)


def _flush_entry(path: Path) -> None:
    if path.is_dir() and os.name != "posix":  # only POSIX opens a folder
        return
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
