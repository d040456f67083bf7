"""The tables beside a study's runs, derived from its records and rebuilt at will."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl

from attention_arena.report.derived.against_best import compare_with_best
from attention_arena.report.derived.break_even import break_evens
from attention_arena.report.derived.comparisons import compare_with_baseline
from attention_arena.report.derived.growth import growth
from attention_arena.report.reading.results import Results, load_results
from attention_arena.report.tables.results_page import results_page
from attention_arena.runs.files import write_whole

__all__ = ["Results", "load_results", "write_tables"]


def write_tables(folder: str | Path) -> list[Path]:
    """Write the tables into `folder` and return their paths: `runs.parquet`, `measurements.parquet`, `curves.parquet`,
    `comparisons.parquet` and `.csv` (see `comparisons.MEANINGS`), the same of `against_best`, `growth` and
    `break_even`, `results.csv` and `results.md`.

    Each file appears whole or not at all. Raises ConfigError where `folder` is no folder.
    """
    folder = Path(folder)
    results = load_results(folder)
    return write_tables_of(results, compare_with_baseline(results), folder)


def write_tables_of(results: Results, comparisons: pl.DataFrame, folder: Path) -> list[Path]:
    """Write the tables of results that are loaded already, and of their comparisons."""
    grown, even, beside_best = growth(results), break_evens(results), compare_with_best(results)
    contents: dict[str, str | bytes] = {
        "runs.parquet": _parquet(results.runs),
        "measurements.parquet": _parquet(results.measurements),
        "curves.parquet": _parquet(results.curves),
        "comparisons.parquet": _parquet(comparisons),
        "comparisons.csv": comparisons.write_csv(),
        "against_best.parquet": _parquet(beside_best),
        "against_best.csv": beside_best.write_csv(),
        "growth.parquet": _parquet(grown),
        "growth.csv": grown.write_csv(),
        "break_even.parquet": _parquet(even),
        "break_even.csv": even.write_csv(),
        "results.csv": results.runs.write_csv(),
        "results.md": results_page(results, comparisons),
    }
    for name, content in contents.items():
        write_whole(folder / name, content)
    return [folder / name for name in contents]


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()
