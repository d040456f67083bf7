"""The answer table in Markdown, with every name shown as the text that it is."""

from __future__ import annotations

import html
import re

from attention_arena.report.answer import AnswerTable, Cell, answer_table
from attention_arena.report.results import Results
from attention_arena.report.summary import summarise
from attention_arena.report.words import answer_in_words

MARKED = re.compile(r"[\\`*\[\]|$~]|(?<![^\W_])_|_(?![^\W_])|^[#+=-]|^\d+(?=[.)](?:\s|$))")
"""What Markdown would read as its own; an underscore inside a word, and a dash inside a line, it leaves alone."""


def escape(text: str) -> str:
    r"""Return `text` so that Markdown shows it as it is: `<b>` as `&lt;b&gt;`, `|` as `\|`."""
    return MARKED.sub(_escaped, html.escape(" ".join(text.split()), quote=False))


def _escaped(found: re.Match[str]) -> str:
    # A leading number would begin a list; a digit itself cannot be escaped, so its text is set apart by an entity.
    return f"&#{ord(found[0][0])};{found[0][1:]}" if found[0][0].isdigit() else f"\\{found[0]}"


def results_page(results: Results) -> str:
    """Return a section for each study: its question, the answer, the table, and the runs that have no score."""
    sections = [_section(results.of(study)) for study in results.studies]
    return "\n".join(sections) if sections else "No study has been run here.\n"


def _section(results: Results) -> str:
    [study] = results.studies
    summaries = summarise(results)
    table = answer_table(summaries)
    parts = [f"# {escape(study.study)} ({escape(study.profile)})", escape(study.question)]
    parts += [escape(answer_in_words(summaries)), table_lines(table)]
    parts += ["\n".join(f"- {escape(note)}" for note in table.notes), _unfinished(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def table_lines(table: AnswerTable) -> str:
    """Return the table itself."""
    headings = ["variant", *(f"{escape(column.title)}<br>{escape(column.below)}" for column in table.columns)]
    lines = [headings, [":--", *("--:" for _ in table.columns)]]
    for row in table.rows:
        name = escape(row.label)
        lines.append([f"*{name}*" if row.trivial else name, *(_cell(cell) for cell in row.cells)])
        if row.baseline:
            lines[-1][0] += " (baseline)"
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    if cell.best:
        text = f"**{text}**"
    elif cell.tied:
        text = f"≈ {text}"
    text += cell.mark
    return " ".join(part for part in (text, escape(cell.note), f"*{escape(cell.flag)}*" if cell.flag else "") if part)


def _unfinished(results: Results) -> str:
    rows = results.runs.filter(results.runs["status"] != "done").select("run", "status", "detail").iter_rows()
    lines = [f"- {escape(run)}: {status}" + (f", {escape(detail)}" if detail else "") for run, status, detail in rows]
    return "\n".join(["Runs without a score:\n", *lines]) if lines else ""
