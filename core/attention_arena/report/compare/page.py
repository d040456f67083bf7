"""A comparison as a page: `index.html` and `compare.csv` in a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from attention_arena.errors import ConfigError
from attention_arena.report.compare import words
from attention_arena.report.compare.against import Against
from attention_arena.report.compare.finding import CHANGED, KINDS, Finding
from attention_arena.report.compare.sides import Side
from attention_arena.report.page.environment import environment
from attention_arena.report.tables.sheet import spreadsheet_csv
from attention_arena.runs.files import write_whole

SCRIPTS = ("tables", "copy")
"""Parts of the report's script: those that need nothing but tables."""


def write_comparison(sides: Sequence[Side], compared: Sequence[Against], folder: Path) -> Path:
    """Write the page and its numbers into `folder` and return the page. Raises ConfigError where that cannot be."""
    groups = [(against, list(_groups(against))) for against in compared]
    template = environment(SCRIPTS).get_template("compare.html.j2")
    page = template.render(sides=sides, compared=groups, words=words, kinds=KINDS)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "compare.csv", spreadsheet_csv(pl.concat([against.frame() for against in compared])))
        write_whole(folder / "index.html", page)
    except OSError as error:
        raise ConfigError(f"cannot write the comparison to {folder}: {error.strerror or error}") from error
    return folder / "index.html"


def _groups(against: Against) -> Iterator[tuple[str, list[Finding], list[Finding]]]:
    """Yield what each kind is called, with its findings that changed and with the others, worst first."""
    for kind, _ in against.counted:
        found = against.of(kind)
        changed = [each for each in found if each.verdict in CHANGED]
        yield KINDS[kind], changed, [each for each in found if each.verdict not in CHANGED]
