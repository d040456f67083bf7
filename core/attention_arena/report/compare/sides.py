"""What is compared: folders of results, each a side with a letter."""

from __future__ import annotations

import string
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attention_arena.errors import ConfigError
from attention_arena.report.page.contents import machines
from attention_arena.report.reading.folder import study_folders
from attention_arena.report.reading.progress import counts_in_words
from attention_arena.report.reading.results import Results, load_results


@dataclass(frozen=True)
class Side:
    """One of the folders."""

    letter: str
    path: Path
    results: Results

    @property
    def studies(self) -> str:
        """Its studies and profiles: `lra (laptop)`."""
        return ", ".join(f"{study.study} ({study.profile})" for study in self.results.studies)

    @property
    def progress(self) -> str:
        """How many of its runs came to what."""
        return counts_in_words(self.results)

    @property
    def machines(self) -> list[str]:
        """Machine, settings and versions that its runs were done with, one line each."""
        return [_machine(row) for row in machines(self.results)] or ["no run has been started"]

    @property
    def left_out(self) -> list[str]:
        """What could not be read, and why."""
        return [note.text for note in self.results.notes]


def read_sides(paths: Sequence[Path]) -> list[Side]:
    """Read the folders: a results folder, a study's, or a profile's own. Raises ConfigError where there is nothing.

    What is left out of a folder stands in `Side.left_out`.
    """
    if not 2 <= len(paths) <= len(string.ascii_uppercase):
        raise ConfigError(f"compare takes 2 to {len(string.ascii_uppercase)} folders of results, got {len(paths)}")
    sides = []
    for letter, path in zip(string.ascii_uppercase, paths, strict=False):
        if not study_folders(path):
            raise ConfigError(f"no results in {path}: expected a folder with study.json, as `arena run` writes it")
        with warnings.catch_warnings():
            # The side itself tells of them, beside its letter.
            warnings.simplefilter("ignore")
            sides.append(Side(letter, path, load_results(path)))
    return sides


def _machine(row: dict[str, Any]) -> str:
    commit = f"commit {row['commit'][:12]}{' with changes' if row['dirty'] else ''}" if row["commit"] else "no commit"
    return ", ".join(
        [
            f"{row['device_name'] or 'unknown device'} ({row['device'] or 'unknown'})",
            f"{row['threads']} threads",
            str(row["precision"]),
            f"torch {row['torch_version']}",
            f"attention-arena {row['arena_version']}",
            commit,
            f"{row['runs']} runs",
        ]
    )
