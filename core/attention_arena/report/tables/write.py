"""The files of tables, each written whole, and those of an earlier report removed."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from attention_arena.report.rows.cells import Table
from attention_arena.report.tables.chosen import is_ours
from attention_arena.report.tables.latex import latex
from attention_arena.report.tables.markdown import markdown
from attention_arena.report.tables.sheet import csv, frame
from attention_arena.runs.files import write_whole


def _parquet(table: Table) -> bytes:
    buffer = io.BytesIO()
    frame(table).write_parquet(buffer)
    return buffer.getvalue()


RENDERERS: Mapping[str, Callable[[Table], str | bytes]] = {
    "md": markdown,
    "tex": latex,
    "csv": csv,
    "parquet": _parquet,
}
"""Ending -> what makes the file's content."""


def write_table_files(tables: Iterable[Table], folder: Path) -> list[Path]:
    """Write every table in every form to `folder`, `NAME.md` and so on, and return the paths.

    A table that the last report had and this one has not is removed; any other file is left alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for table in tables:
        for ending, render in RENDERERS.items():
            written.append(folder / f"{table.name}.{ending}")
            write_whole(written[-1], render(table))
    for path in set(folder.iterdir()) - set(written):
        if path.suffix.removeprefix(".") in RENDERERS and is_ours(path.stem):
            path.unlink()
    return written
