"""A comparison as text: who is compared, what got worse and improved, the rest counted, and one line to sum it up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attention_arena.report.compare.against import Against
from attention_arena.report.compare.finding import GOT_WORSE, IMPROVED, WORST_FIRST, Finding
from attention_arena.report.compare.sides import Side
from attention_arena.report.compare.words import change_of, name_of, p_of, value_of

MOST_DIFFERING = 12
MOST_NOTES = 3
"""Differing settings, and files left out, that are listed; a page has them all."""


def comparison_text(sides: Sequence[Side], compared: Sequence[Against], everything: bool = False) -> str:
    """Return the text, without a trailing line end; `everything` lists findings of any verdict one by one."""
    lines = [line for side in sides for line in _side(side)]
    for against in compared:
        lines += ["", *_differing(against), *_findings(against, everything), against.summary]
    return "\n".join(lines)


def _side(side: Side) -> Iterator[str]:
    yield f"{side.letter}  {side.path}: {side.studies}"
    yield f"   {side.progress}"
    yield from (f"   {machine}" for machine in side.machines)
    yield from _some([f"left out: {note}" for note in side.left_out], MOST_NOTES)


def _differing(against: Against) -> Iterator[str]:
    if against.differing:
        yield f"settings that differ, {against.first.letter} → {against.other.letter}:"
        yield from _some(against.differing, MOST_DIFFERING)
        yield ""


def _some(lines: Sequence[str], most: int) -> Iterator[str]:
    yield from (f"   {line}" for line in lines[:most])
    if len(lines) > most:
        yield f"   and {len(lines) - most} more"


def _findings(against: Against, everything: bool) -> Iterator[str]:
    listed = [each for each in against.findings if everything or each.verdict in (GOT_WORSE, IMPROVED)]
    rows = [_cells(against, each) for each in listed]
    if rows:
        head = ["verdict", "task", "variant", "what", against.first.letter, against.other.letter, "change", "p", ""]
        yield from _aligned([head, *rows])
        yield ""
    if not everything:
        yield from _counted(against)


def _cells(against: Against, each: Finding) -> list[str]:
    values = [value_of(each, each.theirs), value_of(each, each.mine)]
    words = [against.verdict(each), each.task, each.label, name_of(each)]
    return [*words, *values, change_of(each), p_of(each), each.reason]


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the rows with their columns one below another; the last is left as long as it is."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield "  ".join([*cells, row[-1]]).rstrip()


def _counted(against: Against) -> Iterator[str]:
    """Yield a line for each other verdict, alike reasons together."""
    for verdict in WORST_FIRST:
        if verdict in (GOT_WORSE, IMPROVED):
            continue
        reasons: dict[str, int] = {}
        for each in against.findings:
            if each.verdict == verdict:
                reasons[each.reason] = reasons.get(each.reason, 0) + 1
        for reason, n in reasons.items():
            words = against.verdict(next(each for each in against.findings if each.verdict == verdict))
            yield f"{n} × {words}" + (f": {reason}" if reason else "")
