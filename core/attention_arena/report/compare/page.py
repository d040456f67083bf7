"""A comparison as a page: `index.html` and `compare.csv` in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from attention_arena.errors import ConfigError
from attention_arena.report.compare import words
from attention_arena.report.compare.against import Against
from attention_arena.report.compare.finding import WORST_FIRST
from attention_arena.report.compare.sides import Side
from attention_arena.report.page.environment import environment
from attention_arena.runs.files import write_whole


def write_comparison(sides: Sequence[Side], compared: Sequence[Against], folder: Path) -> Path:
    """Write the page and its numbers into `folder` and return the page. Raises ConfigError where that cannot be."""
    page = (
        environment()
        .get_template("compare.html.j2")
        .render(sides=sides, compared=[(against, _groups(against)) for against in compared], words=words)
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "compare.csv", pl.concat([against.frame() for against in compared]).write_csv())
        write_whole(folder / "index.html", page)
    except OSError as error:
        raise ConfigError(f"cannot write the comparison to {folder}: {error.strerror or error}") from error
    return folder / "index.html"


def _groups(against: Against) -> list[tuple[str, list[object]]]:
    """Return the findings by verdict, worst first."""
    groups = []
    for verdict in WORST_FIRST:
        found = [each for each in against.findings if each.verdict == verdict]
        if found:
            groups.append((against.verdict(found[0]), list[object](found)))
    return groups
