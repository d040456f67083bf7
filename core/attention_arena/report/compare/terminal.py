"""A comparison as text: who is compared, the verdicts counted, what changed kind by kind, and one line to sum it up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from attention_arena.report.compare.against import Against
from attention_arena.report.compare.finding import CHANGED, KINDS, WORST_FIRST, Finding, Kind
from attention_arena.report.compare.sides import Side
from attention_arena.report.compare.words import RULE, change_of, limits_of, name_of, p_of, value_of

MOST_DIFFERING = 12
MOST_NOTES = 3
MOST_CHANGES = 15
"""Differing settings, files left out, and changes of one kind for the worse, or the better, that are listed unless all
are asked for; a page has them all."""


def comparison_text(sides: Sequence[Side], compared: Sequence[Against], everything: bool = False) -> str:
    """Return the text, without a trailing line end; `everything` lists findings of any verdict one by one."""
    lines = [line for side in sides for line in _side(side)]
    for against in compared:
        lines += ["", against.title, ""]
        if against.findings:
            lines += [*_counts(against), "", RULE, ""]
        lines += _differing(against)
        for kind in KINDS:
            lines += _kind(against, kind, everything)
        lines.append(against.summary)
    return "\n".join(lines)


def _side(side: Side) -> Iterator[str]:
    yield f"{side.letter}  {side.path}: {side.studies}"
    yield f"   {side.progress}"
    yield from (f"   {machine}" for machine in side.machines)
    yield from _some([f"left out: {note}" for note in side.left_out], MOST_NOTES)


def _counts(against: Against) -> Iterator[str]:
    """Yield a table of how often each verdict was given, a line a kind."""
    heads = [against.names.get(verdict, verdict) for verdict in against.verdicts]
    rows = [[KINDS[kind], *map(str, numbers)] for kind, numbers in against.counted]
    widths = [max(len(row[index]) for row in [["", *heads], *rows]) for index in range(len(heads) + 1)]
    for first, *others in [["", *heads], *rows]:
        numbers = "  ".join(text.rjust(width) for text, width in zip(others, widths[1:], strict=True))
        yield f"   {first.ljust(widths[0])}  {numbers}"


def _differing(against: Against) -> Iterator[str]:
    if against.differing:
        yield f"settings that differ, {against.first.letter} → {against.other.letter}:"
        yield from _some(against.differing, MOST_DIFFERING)
        yield ""


def _some(lines: Sequence[str], most: int) -> Iterator[str]:
    yield from (f"   {line}" for line in lines[:most])
    if len(lines) > most:
        yield f"   and {len(lines) - most} more"


def _kind(against: Against, kind: Kind, everything: bool) -> Iterator[str]:
    """Yield what changed of a kind, the largest changes for the worse first, and the rest counted."""
    listed: list[Finding] = []
    folded: list[str] = []
    for verdict in WORST_FIRST:
        found = [each for each in against.of(kind) if each.verdict == verdict]
        n = len(found) if everything else MOST_CHANGES if verdict in CHANGED else 0
        listed += found[:n]
        folded += _folded(against, verdict, found[n:])
    if listed or folded:
        yield f"{KINDS[kind]}:"
        yield from (f"   {line}" for line in (*_table(against, listed), *folded))
        yield ""


def _folded(against: Against, verdict: str, left: Sequence[Finding]) -> Iterator[str]:
    """Yield how many findings of a verdict are not listed, and why they came to it, alike reasons together."""
    if left and verdict in CHANGED:
        yield f"and {len(left)} more {verdict}; --all lists them"
        return
    for reason, n in Counter(each.reason for each in left).items():
        yield f"{n} × {against.names.get(verdict, verdict)}" + (f": {reason}" if reason else "")


def _table(against: Against, listed: Sequence[Finding]) -> Iterator[str]:
    """Yield the findings as a table, and below it what limits them, alike limits once."""
    if not listed:
        return
    limits = limits_of(listed)
    head = ["verdict", "task", "variant", "what", against.first.letter, against.other.letter, "change", "p", ""]
    yield from _aligned([head, *([*_cells(against, each), limits.get(each.reason, "")] for each in listed)])
    yield from (f"{mark} {reason}" for reason, mark in limits.items())


def _cells(against: Against, each: Finding) -> list[str]:
    values = [value_of(each, each.theirs), value_of(each, each.mine)]
    return [against.verdict(each), each.task, each.label, name_of(each), *values, change_of(each), p_of(each)]


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the rows with their columns one below another; the last is left as long as it is."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield "  ".join([*cells, row[-1]]).rstrip()
