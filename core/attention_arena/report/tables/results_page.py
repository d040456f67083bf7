"""The answer of every study in Markdown: `results.md`."""

from __future__ import annotations

import polars as pl

from attention_arena.report.derived.summary import summarise
from attention_arena.report.reading.results import Results
from attention_arena.report.rows.answer import answer_table
from attention_arena.report.tables.markdown import escape, table_lines
from attention_arena.report.wording.words import answer_in_words


def results_page(results: Results, comparisons: pl.DataFrame) -> str:
    """Return a section for each study: its question, the answer, the table, and the runs that have no score."""
    sections = [_section(results.of(study), comparisons) for study in results.studies]
    return "\n".join(sections) if sections else "No study has been run here.\n"


def _section(results: Results, comparisons: pl.DataFrame) -> str:
    [study] = results.studies
    mine = (pl.col("study") == study.study) & (pl.col("profile") == study.profile)
    summaries = summarise(results, comparisons.filter(mine))
    table = answer_table(summaries)
    parts = [f"# {escape(study.study)} ({escape(study.profile)})", escape(study.question)]
    parts += [escape(answer_in_words(summaries)), table_lines(table)]
    parts += ["\n".join(f"- {escape(note)}" for note in table.notes), _unfinished(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _unfinished(results: Results) -> str:
    rows = results.runs.filter(results.runs["status"] != "done").select("run", "status", "detail").iter_rows()
    lines = [f"- {escape(run)}: {status}" + (f", {escape(detail)}" if detail else "") for run, status, detail in rows]
    return "\n".join(["Runs without a score:\n", *lines]) if lines else ""
