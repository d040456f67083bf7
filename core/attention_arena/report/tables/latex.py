r"""A table in LaTeX, for `\input` into a document that loads `booktabs`, with every name shown as the text that it is.

It compiles with pdfLaTeX, XeLaTeX and LuaLaTeX. A letter that pdfLaTeX's fonts may lack (Chinese, say) stands as itself
for the other two and as its code point for pdfLaTeX, which stops at it otherwise.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

from attention_arena.report.rows.cells import Cell, Table
from attention_arena.report.tables.latex_layout import Part, parts_of
from attention_arena.report.tables.latex_letters import ACCENTS, LETTERS, RAISED
from attention_arena.report.tables.latex_words import cell_words, label_words, pieces

BREAK = r"\penalty100{}"
FIRST = r"\leavevmode\nobreak\hspace{0pt}"
"""What a cell begins with whose first word may be hyphenated."""


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
    """Return a float with caption, label, rules and notes, or several where the table does not fit into one.

    It is a `table` where it fits into a column of a two-column page, and a `table*` otherwise.
    """
    parts = parts_of(table)
    floats = [_float(part, place, len(parts)) for place, part in enumerate(parts, 1)]
    return "\n".join([r"% needs \usepackage{booktabs}", *(line for lines in floats for line in lines)]) + "\n"


def _float(part: Part, place: int, n_parts: int) -> list[str]:
    table, kind = part.table, "table*" if part.is_wide else "table"
    return [
        rf"\begin{{{kind}}}",
        r"  \centering",
        rf"  \caption{{{escape(table.caption)}{f' (part {place} of {n_parts})' if n_parts > 1 else ''}}}",
        rf"  \label{{tab:{table.name}{f'-{place}' if place > 1 else ''}}}",
        r"  \footnotesize\setlength{\tabcolsep}{0.25em}",
        *(_tabular(part) if table.rows or n_parts == 1 else ()),
        *_notes(table),
        rf"\end{{{kind}}}",
    ]


def _tabular(part: Part) -> Iterator[str]:
    yield rf"  \begin{{tabular}}{{{_alignment(part)}}}"
    yield r"    \toprule"
    yield from (f"    {line}" for line in _head(part))
    yield r"    \midrule"
    yield from (f"    {line}" for line in _body(part))
    yield r"    \bottomrule"
    yield r"  \end{tabular}"


def _notes(table: Table) -> Iterator[str]:
    if table.notes:
        yield r"  \par\medskip\begin{minipage}{\linewidth}\scriptsize\raggedright"
        yield from (rf"    {_set(note)}\par" for note in table.notes)
        yield r"  \end{minipage}"


def _alignment(part: Part) -> str:
    letters = ["l", *("r" if column.is_number else "l" for column in part.table.columns)]
    return "".join(
        letter if share is None else rf"p{{{share:.3f}\textwidth}}"
        for letter, share in zip(letters, part.widths, strict=True)
    )


def _head(part: Part) -> Iterator[str]:
    columns = part.table.columns
    yield _line(part, [_set(part.table.head), *(_set(column.title) for column in columns)])
    if any(column.below for column in columns):
        yield _line(part, ["", *(_small(column.below) for column in columns)])


def _body(part: Part) -> Iterator[str]:
    told = False
    is_broken = any(share is not None for share in part.widths)
    for place, row in enumerate(part.table.rows):
        if row.trivial and not told:
            told = True
            if place:
                yield r"\midrule"
            yield rf"\multicolumn{{{len(row.cells) + 1}}}{{l}}{{\emph{{Scores that need no model}}}} \\"
        elif place and is_broken:
            yield r"\addlinespace[0.3em]"
        yield _line(part, [_set(label_words(row).text), *(_cell(cell) for cell in row.cells)])


def _line(part: Part, cells: Sequence[str]) -> str:
    sides = ["right", *("left" if column.is_number else "right" for column in part.table.columns)]
    aligned = [
        cell if share is None or not cell else rf"\ragged{ragged}{FIRST}{cell}"
        for cell, ragged, share in zip(cells, sides, part.widths, strict=True)
    ]
    # Braces, because what follows the end of a line may be read as its option where it begins with [ or *. A ragged
    # cell has a \\ of its own, which ends no row.
    end = r"\\" if aligned == list(cells) else r"\tabularnewline"
    return rf"{{}}{' & '.join(aligned)} {end}"


def _cell(cell: Cell) -> str:
    text = _set(cell.text)
    if cell.best:
        text = rf"\textbf{{{text}}}"
    elif cell.near_best:
        text = rf"\underline{{{text}}}"
    if cell.mark:
        text += _raised(cell.mark)
    return " ".join(part for part in (text, *(_small(words.text) for words in cell_words(cell)[1:])) if part)


def _raised(mark: str) -> str:
    """Return a mark above the line; a letter that is raised already stays as it is."""
    return "".join(escape(each) if each in RAISED else rf"\textsuperscript{{{escape(each)}}}" for each in mark)


def _small(text: str) -> str:
    return rf"{{\scriptsize {_set(text)}}}" if text else ""


def _set(text: str) -> str:
    """Return text with the places at which its words may be broken, and with short texts that are not."""
    words = [BREAK.join(map(_tied, word)) for word in pieces(text)]
    # An interval is broken only where it must be.
    ends = [f"{BREAK} " if word.startswith(escape("[")) else " " for word in words]
    return "".join(part for pair in zip(words, [*ends[:-1], ""], strict=True) for part in pair)


def _tied(piece: str) -> str:
    return "~".join(escape(part) for part in piece.split(" "))
