"""The tables beside a study's runs, derived from its records and rebuilt at will."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl

from attention_arena.report.markdown import results_page
from attention_arena.report.results import Results, load_results
from attention_arena.runs.files import write_whole

__all__ = ["Results", "load_results", "write_tables"]


def write_tables(folder: str | Path) -> list[Path]:
    """Write runs, measurements and curves (`.parquet`), `results.csv` and `results.md` into `folder`; return the paths.

    Each file appears whole or not at all. Raises ConfigError where `folder` is no folder.
    """
    folder = Path(folder)
    return write_tables_of(load_results(folder), folder)


def write_tables_of(results: Results, folder: Path) -> list[Path]:
    """Write the tables of results that are loaded already."""
    contents: dict[str, str | bytes] = {
        "runs.parquet": _parquet(results.runs),
        "measurements.parquet": _parquet(results.measurements),
        "curves.parquet": _parquet(results.curves),
        "results.csv": results.runs.write_csv(),
        "results.md": results_page(results),
    }
    for name, content in contents.items():
        write_whole(folder / name, content)
    return [folder / name for name in contents]


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()
