"""The text that every machine has that runs this: the sources of the interpreter's own standard library."""

from __future__ import annotations

import os
import platform
import sysconfig
from collections.abc import Callable
from pathlib import Path

from attention_arena.archives import read_bytes
from attention_arena.errors import TaskError

LICENCE = "PSF-2.0"
LEFT_OUT = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"})
"""Folders of the standard library's that are tests, other people's code, or no sources."""
BUILD_SETTINGS = ("config-", "_sysconfigdata")
"""How the names begin that differ from one build of a version to another."""

TABLES = ("encodings/", "pydoc_data/")
"""Packages of tables, in which every file looks like the next, and one of help texts."""


def is_no_table(name: str) -> bool:
    """Whether a source is one that people wrote line by line."""
    return not name.startswith(TABLES)


def python_version() -> str:
    """Return the version of the interpreter, which its sources hang on."""
    return platform.python_version()


def standard_library(wanted: Callable[[str], bool] = lambda name: True) -> dict[str, bytes]:
    """Return the wanted .py sources, without tests and build settings, by path relative to the library, sorted.

    Line ends are those of Unix, as some installations write others. Raises TaskError where the interpreter has none.
    """
    root = Path(sysconfig.get_path("stdlib"))
    names = sorted(name for name in _names(root) if wanted(name))
    if not names:
        raise TaskError(f"no .py sources of Python's standard library at {root}: run with a Python that has them")
    return {name: read_bytes(root / name).replace(b"\r\n", b"\n") for name in names}


def _names(root: Path) -> list[str]:
    names = []
    for folder, below, files in os.walk(root):
        below[:] = [name for name in below if name not in LEFT_OUT and not name.startswith(BUILD_SETTINGS)]
        names += [
            (Path(folder) / name).relative_to(root).as_posix()
            for name in files
            if name.endswith(".py") and not name.startswith(BUILD_SETTINGS)
        ]
    return names
