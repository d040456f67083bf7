"""Which code, and which machine."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple


class Provenance(NamedTuple):
    """What of a record is the same for all runs of one runner."""

    arena_version: str
    commit: str | None
    """Of the checkout that the package is imported from; None for an installed wheel."""
    dirty: bool | None
    host: str


def arena_version() -> str:
    """Return the installed version of attention-arena."""
    try:
        return version("attention-arena")
    except PackageNotFoundError:
        return "unknown"


def provenance() -> Provenance:
    """Return the version, the commit and the machine's name."""
    folder = Path(__file__).resolve().parent
    top = _git(folder, "rev-parse", "--show-toplevel")
    ours = top is not None and folder == Path(top) / "core" / "attention_arena" / "runs"
    commit = _git(folder, "rev-parse", "HEAD") if ours else None
    changes = _git(folder, "status", "--porcelain") if commit else None
    return Provenance(arena_version(), commit, None if changes is None else bool(changes), platform.node())


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
