"""`published.csv` and `published.md` in a study's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from attention_arena.report.derived.summary import Summaries
from attention_arena.report.published.beside import Entry, Published, PublishedTable, published_frame
from attention_arena.report.reading.results import Results
from attention_arena.report.tables.markdown import escape
from attention_arena.runs.files import write_whole

CSV, MARKDOWN = "published.csv", "published.md"


def write_published(
    folder: Path, shown: Published, results: Results, summaries: Summaries, published: pl.DataFrame
) -> None:
    """Write both files, each whole or not at all."""
    write_whole(folder / CSV, published_frame(results, summaries, published).write_csv())
    write_whole(folder / MARKDOWN, published_page(shown))


def remove_published(folder: Path) -> None:
    """Remove the files of an earlier report, whose side of ours would no longer be true."""
    for name in (CSV, MARKDOWN):
        (folder / name).unlink(missing_ok=True)


def published_page(shown: Published) -> str:
    """Return the tables in Markdown, with their sources below."""
    parts = ["# Published numbers", "None of the numbers of a source was measured here."]
    for table in shown.tables:
        parts += [f"## {escape(table.heading)}", f"{escape(table.measured_in)}. {escape(table.remark)}.", _lines(table)]
    sources = [
        f"- {escape(row['source'])}, {escape(row['where'])}: {escape(row['citation'])}. {escape(row['caveat'])}"
        for row in shown.sources
    ]
    return "\n\n".join(part for part in (*parts, "\n".join(sources)) if part) + "\n"


def _lines(table: PublishedTable) -> str:
    lines = [["variant or model", *table.columns], [":--", *("--:" for _ in table.columns)]]
    lines[0] = [escape(each) for each in lines[0]]
    lines += [[escape(name), *(_cell(cell) for cell in cells)] for name, cells in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(entries: Sequence[Entry]) -> str:
    return "<br>".join(f"{escape(each.text)} ({escape(each.of)})" for each in entries)
