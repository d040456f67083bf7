"""A table in Markdown, with every name shown as the text that it is."""

from __future__ import annotations

import html
import re

from attention_arena.report.derived.comparisons import NO_DIFFERENCE
from attention_arena.report.rows.cells import Cell, Row, Table

MARKED = re.compile(r"[\\`*\[\]|$~]|(?<![^\W_])_|_(?![^\W_])|^[#+=-]|^\d+(?=[.)](?:\s|$))")
"""What Markdown would read as its own; an underscore inside a word, and a dash inside a line, it leaves alone."""


def escape(text: str) -> str:
    r"""Return `text` so that Markdown shows it as it is: `<b>` as `&lt;b&gt;`, `|` as `\|`."""
    return MARKED.sub(_escaped, html.escape(" ".join(text.split()), quote=False))


def _escaped(found: re.Match[str]) -> str:
    # A leading number would begin a list; a digit itself cannot be escaped, so its text is set apart by an entity.
    return f"&#{ord(found[0][0])};{found[0][1:]}" if found[0][0].isdigit() else f"\\{found[0]}"


def markdown(table: Table) -> str:
    """Return a table with its caption above and its notes below."""
    notes = "\n".join(f"- {escape(note)}" for note in table.notes)
    return "\n\n".join(part for part in (f"**{escape(table.caption)}**", table_lines(table), notes) if part) + "\n"


def table_lines(table: Table) -> str:
    """Return the table itself."""
    headings = [escape(table.head)]
    headings += [f"{escape(each.title)}<br>{escape(each.below)}".removesuffix("<br>") for each in table.columns]
    lines = [headings, [":--", *("--:" if each.is_number else ":--" for each in table.columns)]]
    lines += [[_label(row), *(_cell(cell) for cell in row.cells)] for row in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _label(row: Row) -> str:
    name = f"*{escape(row.label)}*" if row.trivial else escape(row.label)
    return f"{name} (baseline)" if row.baseline else name


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    if cell.best:
        text = f"**{text}**"
    elif cell.near_best:
        text = f"*{text}*"
    text += cell.mark
    verdict = "∼" if cell.verdict == NO_DIFFERENCE else cell.verdict and f"*{cell.verdict}*"
    told = [part for part in (verdict, cell.flag and f"*{escape(cell.flag)}*") if part]
    return " ".join(part for part in (text, escape(cell.note), *told) if part)
