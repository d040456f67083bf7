"""How a table fits onto a page in print: which columns stand side by side, how wide each is, and which rows follow.

Widths are in em of the table's own size of letters; see `latex_words`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from attention_arena.report.rows.cells import Cell, Column, Row, Table
from attention_arena.report.tables.latex_words import Words, cell_words, label_words, width_of

COLUMN = 23.5
"""Of one of two columns, in em: 219 pt of letters of 9 pt, the narrowest of the common styles."""
BOTH = 49.0
"""Of a page of two columns: 455 pt of letters of 9 pt, again the narrowest."""
PAGE = 39.0
"""Of a page of one column, that of `article`."""
GAP = 0.5
"""Between two columns."""
MOST_LINES = 40
"""Of a part; a page of `article` has 44 or more of this size, of which the caption takes its share."""
SYLLABLES = 4.0
"""Of a column at least, where its numbers need no more: longer words above or in place of a number are hyphenated."""
LABELS = 5.5
"""The same of the labels' column; names are hyphenated badly."""


class Extent(NamedTuple):
    """How wide a column is."""

    least: float
    """Its widest piece that is never broken."""
    natural: float
    """Its longest line unbroken."""

    @property
    def readable(self) -> float:
        """What it should have on a page of two columns: text of many words is not broken at each of them."""
        return max(self.least, min(self.natural / 4, 14.0))

    @property
    def narrowest(self) -> float:
        """What it should have on a page of one column, with as much of it as on one of two."""
        return max(self.least, self.readable * PAGE / BOTH)


@dataclass(frozen=True)
class Part:
    """What of a table stands together; `table` has its columns and rows alone, and notes in the last part only."""

    table: Table
    is_wide: bool
    """Whether it needs the page's whole width, on a page of two columns."""
    widths: Sequence[float | None]
    """Of the labels and of each column, as shares of the page's width; None where its lines are not broken."""
    n_lines: int = 0
    """About as many as it takes on a page of one column, without notes."""


def parts_of(table: Table) -> list[Part]:
    """Return a table in as few parts as fit: columns in order, each part with the labels, and no more rows than fit."""
    return list(_with_notes(_by_columns(replace(table, notes=())), table.notes))


def _by_columns(table: Table) -> list[Part]:
    extents = _extents(table)
    if _total([each.natural for each in extents]) <= COLUMN:
        return _by_rows(Part(table, False, [None] * len(extents)), [each.natural for each in extents])
    parts = []
    for first, end in _groups(extents):
        chosen = [extents[0], *extents[first:end]]
        widths = _allotted(chosen)
        shares = [None if width >= each.natural else width / PAGE for width, each in zip(widths, chosen, strict=True)]
        parts += _by_rows(Part(_only(table, first - 1, end - 1), True, shares), widths)
    return parts


def _with_notes(parts: Sequence[Part], notes: Sequence[str]) -> Iterator[Part]:
    """Yield the parts, the last with the notes, or those in a part of their own where they would be too many lines."""
    yield from parts[:-1]
    last = parts[-1]
    n_lines = sum(_lines([[Words(note, True)]], [PAGE if last.is_wide else COLUMN]) for note in notes)
    if last.n_lines + n_lines <= MOST_LINES:
        yield replace(last, table=replace(last.table, notes=notes))
    else:
        yield last
        yield replace(last, table=replace(last.table, rows=[], notes=notes), n_lines=n_lines)


def _only(table: Table, first: int, end: int) -> Table:
    """Return a table with some of its columns; what needs no model and says nothing of these is left out."""
    rows = [replace(row, cells=row.cells[first:end]) for row in table.rows]
    rows = [row for row in rows if not row.trivial or any(cell.text for cell in row.cells)]
    return replace(table, columns=table.columns[first:end], rows=rows)


def _extents(table: Table) -> list[Extent]:
    """Return the extent of the labels' column, and of each other."""
    labels = _extent([[Words(table.head)], *([label_words(row)] for row in table.rows)], [], LABELS)
    columns = [
        _column_extent(each, [row.cells[place] for row in table.rows]) for place, each in enumerate(table.columns)
    ]
    return [labels, *columns]


def _column_extent(column: Column, cells: Sequence[Cell]) -> Extent:
    """Return the extent of a column, of which words in place of a number may be hyphenated."""
    words = [cell_words(cell) for cell in cells if column.is_number and cell.value is None]
    others = [cell_words(cell) for cell in cells if not column.is_number or cell.value is not None]
    return _extent([[Words(column.title)], [Words(column.below, True)], *words], others)


def _extent(names: Sequence[Sequence[Words]], cells: Sequence[Sequence[Words]], most: float = SYLLABLES) -> Extent:
    """Return the extent of lines of which `names` may be hyphenated, down to `most`."""
    longest = min(most, max(map(_least, names), default=0.0))
    natural = max(map(_natural, (*names, *cells)), default=0.0)
    return Extent(max(longest, *map(_least, cells), 0.0), natural)


def _least(line: Sequence[Words]) -> float:
    return max(words.widest_piece for words in line)


def _natural(line: Sequence[Words]) -> float:
    return sum(words.width for words in line) + width_of(" ") * (len(line) - 1)


def _total(widths: Sequence[float]) -> float:
    return sum(widths) + GAP * len(widths)


def _groups(extents: Sequence[Extent]) -> list[tuple[int, int]]:
    """Return the place of the first column of each part and that after its last; the last two parts share evenly."""
    ends = [1]
    taken = [extents[0]]
    for place, each in enumerate(extents[1:], 1):
        if len(taken) > 1 and _total([one.narrowest for one in (*taken, each)]) > PAGE:
            ends.append(place)
            taken = [extents[0]]
        taken.append(each)
    ends.append(len(extents))
    if len(ends) > 2:
        even = (ends[-3] + ends[-1] + 1) // 2
        fits = _total([one.narrowest for one in (extents[0], *extents[even:])]) <= PAGE
        ends[-2] = min(ends[-2], even) if fits else ends[-2]
    return list(itertools.pairwise(ends))


def _allotted(extents: Sequence[Extent]) -> list[float]:
    """Return the widths: what each column needs, and of what is left the same to each until it needs no more."""
    widths = [each.narrowest for each in extents]
    left = PAGE - _total(widths)
    by_need = sorted(range(len(extents)), key=lambda place: _wanted(extents[place]))
    for done, place in enumerate(by_need):
        more = max(0.0, min(_wanted(extents[place]), left / (len(extents) - done)))
        widths[place] += more
        left -= more
    return widths


def _wanted(extent: Extent) -> float:
    return extent.natural - extent.narrowest


def _by_rows(part: Part, widths: Sequence[float]) -> list[Part]:
    """Return a part in as many as its rows need."""
    columns = part.table.columns
    titles = [[Words(part.table.head)], *([Words(each.title), Words(each.below, True)] for each in columns)]
    heading = _lines(titles, widths)
    chunks: list[tuple[list[Row], int]] = [([], heading)]
    for row in part.table.rows:
        n_lines = _lines([[label_words(row)], *(cell_words(cell) for cell in row.cells)], widths)
        rows, taken = chunks[-1]
        if rows and taken + n_lines > MOST_LINES:
            chunks.append(([row], heading + n_lines))
        else:
            chunks[-1] = ([*rows, row], taken + n_lines)
    return [replace(part, table=replace(part.table, rows=rows), n_lines=n_lines) for rows, n_lines in chunks]


def _lines(cells: Sequence[Sequence[Words]], widths: Sequence[float]) -> int:
    """Return how many lines the longest cell of a row takes."""
    return max(1, *(math.ceil(1.15 * _natural(cell) / width - 0.15) for cell, width in zip(cells, widths, strict=True)))
