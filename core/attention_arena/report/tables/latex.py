r"""A table in LaTeX, for `\input` into a document that loads `booktabs`, with every name shown as the text that it is.

It compiles with pdfLaTeX, XeLaTeX and LuaLaTeX. A letter that pdfLaTeX's fonts may lack (Chinese, say) stands as itself
for the other two and as its code point for pdfLaTeX, which stops at it otherwise.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from attention_arena.report.derived.comparisons import NO_DIFFERENCE
from attention_arena.report.rows.cells import Cell, Column, Row, Table
from attention_arena.report.tables.latex_letters import ACCENTS, LETTERS

LONG = 40
"""Letters from which on a column of text breaks its lines."""
BROKEN = r"p{0.28\linewidth}"


def escape(text: str) -> str:
    r"""Return `text` so that LaTeX shows it as it is: `50 % \a` as `50 \% \textbackslash{}a`; each break is a space."""
    return "".join(_letters(" ".join(text.split())))


def _letters(text: str) -> Iterator[str]:
    before = ""
    for letter in unicodedata.normalize("NFC", text):
        if letter == before and letter in "-',":
            # Two of them would become another sign.
            yield "{}"
        before = letter
        yield _letter(letter)


def _letter(letter: str) -> str:
    if letter in LETTERS:
        return LETTERS[letter]
    if " " <= letter <= "~":
        return letter
    apart = unicodedata.normalize("NFD", letter)
    if len(apart) == 2 and apart[0].isascii() and apart[0].isalpha() and apart[1] in ACCENTS:
        return f"{ACCENTS[apart[1]]}{{{apart[0]}}}"
    if unicodedata.category(letter)[0] in "CZ":
        return " "
    return rf"\ifdefined\Umathcode {letter}\else\texttt{{U+{ord(letter):04X}}}\fi{{}}"


def latex(table: Table) -> str:
    """Return a `table` with caption, label, rules and notes."""
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escape(table.caption)}}}",
        rf"  \label{{tab:{table.name}}}",
        rf"  \begin{{tabular}}{{{_alignment(table)}}}",
        r"    \toprule",
        *(f"    {line}" for line in _head(table)),
        r"    \midrule",
        *(f"    {line}" for line in _body(table)),
        r"    \bottomrule",
        r"  \end{tabular}",
    ]
    if table.notes:
        lines.append(r"  \par\medskip\begin{minipage}{\linewidth}\footnotesize")
        lines += [rf"    {escape(note)}\par" for note in table.notes]
        lines.append(r"  \end{minipage}")
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _alignment(table: Table) -> str:
    columns = [_align(column, [row.cells[place] for row in table.rows]) for place, column in enumerate(table.columns)]
    return "".join(["l", *columns])


def _align(column: Column, cells: list[Cell]) -> str:
    if column.is_number:
        return "r"
    return BROKEN if any(len(cell.text) > LONG for cell in cells) else "l"


def _head(table: Table) -> Iterator[str]:
    yield _line([escape(table.head), *(escape(column.title) for column in table.columns)])
    if any(column.below for column in table.columns):
        yield _line(["", *(_small(column.below) for column in table.columns)])


def _body(table: Table) -> Iterator[str]:
    told = False
    for row in table.rows:
        if row.trivial and not told:
            told = True
            yield r"\midrule"
            yield rf"\multicolumn{{{len(table.columns) + 1}}}{{l}}{{\emph{{Scores that need no model}}}} \\"
        yield _line([_label(row), *(_cell(cell) for cell in row.cells)])


def _line(cells: list[str]) -> str:
    # Braces, because what follows the end of a line may be read as its option where it begins with [ or *.
    return rf"{{}}{' & '.join(cells)} \\"


def _label(row: Row) -> str:
    return escape(row.label) + (" (baseline)" if row.baseline else "")


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    if cell.best:
        text = rf"\textbf{{{text}}}"
    if cell.mark:
        text += rf"\textsuperscript{{{escape(cell.mark)}}}"
    verdict = "∼" if cell.verdict == NO_DIFFERENCE else cell.verdict
    told = [_small(part) for part in (cell.note, verdict, cell.flag) if part]
    return " ".join(part for part in (text, *told) if part)


def _small(text: str) -> str:
    return rf"{{\footnotesize {escape(text)}}}" if text else ""
