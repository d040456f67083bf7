"""Three ways to read a text: as bytes, as characters, as words between blanks.

A tokeniser sees every text twice: `survey` counts what there is, from which `finish` makes the vocabulary, and `encode`
turns the text into ids.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from attention_arena.task import TaskError
from attention_arena_tasks.language_model.texts import Text
from attention_arena_tasks.language_model.vocabulary import EOS, UNKNOWN, UNKNOWN_CHARACTER, Vocabulary, ranked

PIECE = 2**24
"""Bytes that are decoded at a time."""
N_BYTES = 256

Ids = npt.NDArray[np.integer]


class Tokeniser(ABC):
    """Turns texts into ids; `vocabulary` is there after `finish`."""

    unit: str
    separates = True
    """Whether a corpus' separator stands between texts."""
    vocabulary: Vocabulary

    def __init__(self, min_count: int = 1) -> None:
        self.min_count = min_count
        self.counts: Counter[str] = Counter()
        self.elsewhere: set[str] = set()

    @property
    def settings(self) -> list[object]:
        """A JSON value that is another one when the same text may be read differently."""
        return [type(self).__name__, self.unit, self.min_count]

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        """The smallest type that holds every id."""
        if len(self.vocabulary) <= 2**8:
            return np.uint8
        return np.uint16 if len(self.vocabulary) <= 2**16 else np.uint32

    def survey(self, text: Text) -> None:
        """Count the tokens of a text of the training split, or note those of another."""
        found = self.count(text)
        if text.split == "train":
            self.counts.update(found)
        else:
            self.elsewhere.update(found)

    @abstractmethod
    def count(self, text: Text) -> Counter[str]:
        """Return how often each token occurs."""

    @abstractmethod
    def finish(self) -> None:
        """Make the vocabulary of what was surveyed."""

    @abstractmethod
    def encode(self, text: Text) -> Ids:
        """Return the ids of a text's tokens."""

    @abstractmethod
    def whole(self, content: bytes) -> int:
        """Return up to where `content`, which may end anywhere, has whole tokens."""


class Bytes(Tokeniser):
    """Bytes are their own ids; nothing is counted."""

    unit = "byte"

    def count(self, text: Text) -> Counter[str]:
        """Return nothing: the vocabulary is fixed."""
        return Counter()

    def finish(self) -> None:
        """Take the 256 byte values, in their order."""
        names = tuple(f"{byte:02x}" for byte in range(N_BYTES))
        self.vocabulary = Vocabulary(names, np.zeros(N_BYTES, np.int64), np.ones(N_BYTES, np.int64))

    def encode(self, text: Text) -> Ids:
        """Return the bytes."""
        return np.frombuffer(text.content, dtype=np.uint8)

    def whole(self, content: bytes) -> int:
        """Return the end: bytes are never cut."""
        return len(content)


class Characters(Tokeniser):
    """Unicode characters of UTF-8 text."""

    unit = "character"

    def count(self, text: Text) -> Counter[str]:
        """Return how often each character occurs."""
        found: Counter[str] = Counter()
        for piece in decoded(text):
            points, counts = np.unique(_points(piece), return_counts=True)
            found.update({chr(point): count for point, count in zip(points.tolist(), counts.tolist(), strict=True)})
        return found

    def finish(self) -> None:
        """Rank the characters by frequency."""
        kept = ranked(self.counts, self.elsewhere, self.min_count, UNKNOWN_CHARACTER)
        sizes = [len(token.encode()) for token in kept]
        self.vocabulary = Vocabulary(tuple(kept), np.array([*kept.values()], np.int64), np.array(sizes, np.int64))
        self._ids = np.full(0x110000, -1)
        self._ids[[ord(token) for token in kept]] = np.arange(len(kept))
        if UNKNOWN_CHARACTER in kept:
            self._ids[self._ids < 0] = self._ids[ord(UNKNOWN_CHARACTER)]

    def encode(self, text: Text) -> Ids:
        """Return the characters' ids."""
        parts = [np.empty(0, self.dtype)]
        for piece in decoded(text):
            ids = self._ids[_points(piece)]
            assert ids.min() >= 0, "a character that was not surveyed"
            parts.append(ids.astype(self.dtype))
        return np.concatenate(parts)

    def whole(self, content: bytes) -> int:
        """Return the end of the last whole character: its first byte tells how many follow."""
        for back in range(1, min(4, len(content)) + 1):
            byte = content[-back]
            if byte & 0xC0 != 0x80:
                needed = 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
                return len(content) if needed <= back else len(content) - back
        return len(content)


class Words(Tokeniser):
    """What stands between blanks, and `<eos>` for each line's end.

    `blank_bytes` is the text that a word takes besides its own bytes, `line_bytes` what the end of a line takes: with 1
    and 2, for lines that begin with a blank and have one after each word, the bytes of all tokens are the file's.
    """

    unit = "word"
    separates = False

    def __init__(self, min_count: int = 1, blank_bytes: int = 1, line_bytes: int = 1, unit: str = "word") -> None:
        super().__init__(min_count)
        self.blank_bytes, self.line_bytes, self.unit = blank_bytes, line_bytes, unit

    @property
    def settings(self) -> list[object]:
        """What is counted as text belongs to it."""
        return [*super().settings, self.blank_bytes, self.line_bytes]

    def count(self, text: Text) -> Counter[str]:
        """Return how often each word occurs."""
        found: Counter[str] = Counter()
        for words in words_of(text):
            found.update(words)
        return found

    def finish(self) -> None:
        """Rank the words by frequency."""
        kept = ranked(self.counts, self.elsewhere, self.min_count, UNKNOWN)
        sizes = [self.line_bytes if token == EOS else len(token.encode()) + self.blank_bytes for token in kept]
        self.vocabulary = Vocabulary(tuple(kept), np.array([*kept.values()], np.int64), np.array(sizes, np.int64))
        self._ids = {token: rank for rank, token in enumerate(kept)}

    def encode(self, text: Text) -> Ids:
        """Return the words' ids."""
        ids, unknown = self._ids, self._ids.get(UNKNOWN)
        parts = [
            np.fromiter((ids[w] if unknown is None else ids.get(w, unknown) for w in words), self.dtype, len(words))
            for words in words_of(text)
        ]
        return np.concatenate([np.empty(0, self.dtype), *parts])

    def whole(self, content: bytes) -> int:
        """Return the end of the last whole line, or of the last whole word if there is no line's end."""
        return content.rfind(b"\n") + 1 or content.rfind(b" ") + 1


def words_of(text: Text) -> Iterator[list[str]]:
    """Yield the words of a text, piece by piece; a last line without a line's end has one all the same."""
    for piece in decoded(text):
        yield piece.replace("\n", f" {EOS} ").split()
    if text.content[text.content.rfind(b"\n") + 1 :].strip():
        yield [EOS]


def decoded(text: Text) -> Iterator[str]:
    """Yield the text piece by piece, cut behind line ends or blanks; raises TaskError where it is not UTF-8."""
    content, start = text.content, 0
    while start < len(content):
        stop = _cut(content, start)
        try:
            yield content[start:stop].decode("utf-8")
        except UnicodeDecodeError as error:
            raise TaskError(
                f"{text.name}: not UTF-8 at byte {text.start + start + error.start:,} ({error.reason}): expected text; "
                "read it as bytes (`unit: byte`), or convert it"
            ) from error
        start = stop


def _cut(content: bytes, start: int) -> int:
    stop = start + PIECE
    if stop >= len(content):
        return len(content)
    for mark in (b"\n", b" "):
        found = content.rfind(mark, start, stop)
        if found >= 0:
            return found + 1
    ends = [found for mark in (b"\n", b" ") if (found := content.find(mark, stop)) >= 0]
    return min(ends) + 1 if ends else len(content)


def _points(piece: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(piece.encode("utf-32-le"), dtype="<u4")
