"""A stand-in for sentiment: which of two groups of modules does a passage of Python's standard library come from?

One class is modules about networks, processes and protocols, the other modules about the language and its data types.
Both are the same kind of text by the same authors, so that bytes alone say little and words say much. Files are dealt
whole to the splits, so that no passage of the test was written in a file that was trained on. Passages begin at any
line and overlap within a split.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import NamedTuple

from attention_arena.passages import Draws, deal, line_starts, passage
from attention_arena.python_sources import standard_library
from attention_arena.task import TaskError

SHARES = {"train": 70, "validation": 10, "test": 20}
"""Per cent of the bytes of each class."""
SHORTEST = 4
"""No passage is asked to be shorter than `max_length` over this."""
TRIES = 100
"""Draws for each passage that is wanted, after which there are too few to be found."""
NETWORK_AND_PROCESSES = """
    _threading_local asynchat asyncio asyncore base64 binhex cgi cgitb concurrent email ftplib getpass http imaplib
    ipaddress mailbox mailcap mimetypes multiprocessing netrc nntplib poplib pty queue quopri sched selectors signal
    smtpd smtplib socket socketserver ssl subprocess telnetlib threading tty urllib uu uuid webbrowser wsgiref xmlrpc
"""
LANGUAGE_AND_DATA = """
    _collections_abc _py_abc _pydatetime _pydecimal _strptime _weakrefset abc argparse ast bdb bisect cProfile calendar
    cmd code codeop collections colorsys configparser contextlib copy copyreg csv dataclasses datetime decimal difflib
    dis doctest enum fractions functools getopt gettext graphlib heapq html importlib inspect json keyword linecache
    locale numbers opcode operator optparse pdb pickle pickletools plistlib pprint profile pstats random re reprlib
    shlex sre_compile sre_parse statistics string struct symtable textwrap timeit token tokenize tomllib trace traceback
    types typing unittest weakref xml zoneinfo
"""
CLASSES = tuple(frozenset(modules.split()) for modules in (NETWORK_AND_PROCESSES, LANGUAGE_AND_DATA))
"""Top-level modules and packages of each class; a version of Python that lacks one does without."""


class Passages(NamedTuple):
    """Texts of a split with their classes, 0 and 1 in turns."""

    texts: list[bytes]
    targets: list[int]


def draw(counts: dict[str, int], max_length: int, seed: int) -> dict[str, Passages]:
    """Return distinct passages of at most `max_length` bytes, as many for each split as `counts` says."""
    library = standard_library()
    by_class = [{name: text for name, text in library.items() if _module(name) in modules} for modules in CLASSES]
    dealt = [deal({name: len(text) for name, text in files.items()}, SHARES) for files in by_class]
    drawn = {}
    for place, split in enumerate(SHARES):
        pools = [
            _Pool([files[name] for name in names[split]], max_length)
            for files, names in zip(by_class, dealt, strict=True)
        ]
        drawn[split] = _draw(pools, counts[split], Draws(seed, place), split)
    return drawn


def _module(name: str) -> str:
    return name.partition("/")[0].removesuffix(".py")


class _Pool:
    """The places in the files of one class where a passage can begin, and draws of passages from them."""

    def __init__(self, files: list[bytes], max_length: int) -> None:
        self.files, self.max_length = files, max_length
        self.shortest = max(1, max_length // SHORTEST)
        self.starts = [line_starts(text, self.shortest) for text in files]
        self.bounds = list(accumulate((len(starts) for starts in self.starts), initial=0))
        self.taken: set[int] = set()

    def draw(self, draws: Draws) -> bytes | None:
        """Return a passage that begins where none did before, or None if one did."""
        if not self.bounds[-1]:
            return None
        place = draws.below(self.bounds[-1])
        limit = self.shortest + draws.below(self.max_length - self.shortest + 1)
        if place in self.taken:
            return None
        self.taken.add(place)
        file = bisect_right(self.bounds, place) - 1
        return passage(self.files[file], self.starts[file][place - self.bounds[file]], limit)


def _draw(pools: list[_Pool], wanted: int, draws: Draws, split: str) -> Passages:
    texts: list[bytes] = []
    for _ in range(TRIES * wanted):
        if len(texts) == wanted:
            break
        text = pools[len(texts) % len(pools)].draw(draws)
        if text is not None:
            texts.append(text)
    if len(texts) < wanted:
        places = min(pool.bounds[-1] for pool in pools)
        raise TaskError(
            f"the {split} split has {wanted} passages to draw, but one of its classes has only {places} lines at which "
            f"one can begin: lower n_{split}"
        )
    return Passages(texts, [place % len(pools) for place in range(wanted)])
