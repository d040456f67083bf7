"""The words of a table in print: where a line may be broken, and how wide each is.

Widths are in em of the table's own size of letters, estimated from Computer Modern's, which are wider than Times'.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from attention_arena.report.derived.comparisons import NO_DIFFERENCE
from attention_arena.report.rows.cells import Cell, Row
from attention_arena.report.tables.latex_letters import LETTERS

SHORT = 9
"""Letters up to which a text is not broken at its spaces."""
LONG_WORD = 14
"""Letters from which on a word may be broken anywhere."""
SMALLER = 0.94
"""Width of a letter of the next smaller size."""
WIDTHS = ((" ", 0.34), ("iljtfrI.,:;'|!()[]/", 0.38), ("mwMW%@—", 0.92), ("ABCDEFGHKLNOPQRSTUVXYZ+=<>±×−≤≥~∼↑↓", 0.78))
OTHER = 0.54
CODE_POINT = 3.4
"""A letter that stands as its code point, beyond the Latin ones."""


class Words(NamedTuple):
    """Text of one size whose words, or pieces of long ones, follow each other."""

    text: str
    small: bool = False

    @property
    def width(self) -> float:
        """How wide it is on one line."""
        return self._sized(width_of(self.text))

    @property
    def widest_piece(self) -> float:
        """How wide the widest of its pieces is."""
        return self._sized(max(width_of(piece) for word in pieces(self.text) for piece in word))

    def _sized(self, width: float) -> float:
        return width * (SMALLER if self.small else 1.0)


def cell_words(cell: Cell) -> list[Words]:
    """Return what a cell shows, in order."""
    verdict = "∼" if cell.verdict == NO_DIFFERENCE else cell.verdict
    return [Words(cell.text + cell.mark), *(Words(part, True) for part in (cell.note, verdict, cell.flag) if part)]


def label_words(row: Row) -> Words:
    """Return what names a row."""
    return Words(row.label + (" (baseline)" if row.baseline else ""))


def pieces(text: str) -> list[list[str]]:
    """Return the words of a text, each as the pieces between which it may be broken.

    A short text is one word, so that a number keeps its unit, and `±` its number.
    """
    words = [" ".join(text.split())] if len(text) <= SHORT else text.split()
    return [_broken(unicodedata.normalize("NFC", word)) for word in words]


def _broken(word: str) -> list[str]:
    found = re.findall(r"[^_=,/]*[_=,/]+|[^_=,/]+", word)
    parts = [part for each in found for part in (_chopped(each) if len(each) > LONG_WORD else [each])]
    return parts or [word]


def _chopped(word: str) -> list[str]:
    return [word[start : start + 8] for start in range(0, len(word), 8)]


def width_of(text: str) -> float:
    """Return how wide a line of text is."""
    return sum(_letter_width(letter) for letter in text)


def _letter_width(letter: str) -> float:
    if letter > "ɏ" and letter not in LETTERS:
        return CODE_POINT
    return next((width for letters, width in WIDTHS if letter in letters), OTHER)
