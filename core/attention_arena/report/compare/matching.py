"""Which runs of one side belong to which of the other: the same variant, by its label, on the same task."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from attention_arena.report.compare.sides import Side

Row = Mapping[str, Any]


class Key(NamedTuple):
    """What a cell is found by; study and profile are empty where they do not count."""

    study: str
    profile: str
    task: str
    task_options: str | None
    label: str

    @property
    def loosely(self) -> tuple[str, str, str, str]:
        """The key without the task's options."""
        return self.study, self.profile, self.task, self.label


@dataclass(frozen=True)
class Cell:
    """The runs of a variant on a task, over its seeds."""

    rows: Sequence[Row]

    @property
    def done(self) -> list[Row]:
        """Those that are done."""
        return [row for row in self.rows if row["status"] == "done"]

    @property
    def key(self) -> Key:
        """Where it is in its side's frames."""
        return Key(*(self.rows[0][name] for name in Key._fields))

    def first(self, column: str) -> Any:
        """Return the first value of a column that is one."""
        return next((row[column] for row in self.rows if row[column] is not None), None)


@dataclass(frozen=True)
class Match:
    """A cell on both sides, or on one alone. `theirs` is the first side's, `mine` the other's."""

    theirs: Cell | None
    mine: Cell | None
    differing: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    """Settings that differ: path -> (theirs, mine)."""


def match(first: Side, other: Side) -> list[Match]:
    """Return all cells of both sides, in the first's order.

    Those of one task under other options are matched where there is only one on either side. Study and profile count
    only where a side has several.
    """
    by_study = any(len(side.results.studies) > 1 for side in (first, other))
    theirs, mine = _cells(first, by_study), _cells(other, by_study)
    pairs: dict[Key, Key] = {key: key for key in theirs if key in mine}
    pairs |= _loose_pairs([key for key in theirs if key not in mine], [key for key in mine if key not in theirs])
    taken = set(pairs.values())
    matches = [_match(first, theirs[key], other, mine[pairs[key]]) if key in pairs else Match(cell, None)
               for key, cell in theirs.items()]  # fmt: skip
    return matches + [Match(None, cell) for key, cell in mine.items() if key not in taken]


def _cells(side: Side, by_study: bool) -> dict[Key, Cell]:
    cells: dict[Key, list[Row]] = {}
    for row in side.results.runs.iter_rows(named=True):
        key = Key(*(row[name] for name in Key._fields))
        cells.setdefault(key if by_study else key._replace(study="", profile=""), []).append(row)
    return {key: Cell(rows) for key, rows in cells.items()}


def _loose_pairs(theirs: Iterable[Key], mine: Iterable[Key]) -> dict[Key, Key]:
    groups: dict[tuple[str, ...], tuple[list[Key], list[Key]]] = {}
    for side, keys in enumerate((theirs, mine)):
        for key in keys:
            groups.setdefault(key.loosely, ([], []))[side].append(key)
    return {one[0]: other[0] for one, other in groups.values() if len(one) == len(other) == 1}


def runs_folder(side: Side, cell: Cell) -> Path:
    """Return the folder that the cell's runs lie in."""
    return side.results.folders[cell.key.study, cell.key.profile] / "runs"


def _match(first: Side, theirs: Cell, other: Side, mine: Cell) -> Match:
    one, two = _settings(first, theirs), _settings(other, mine)
    paths = dict.fromkeys((*one, *two))
    differing = {path: (one.get(path), two.get(path)) for path in paths if one.get(path) != two.get(path)}
    return Match(theirs, mine, differing if one and two else {})


def _settings(side: Side, cell: Cell) -> dict[str, Any]:
    """Return what a cell's numbers depend on, by path; nothing where its spec cannot be read."""
    try:
        spec = json.loads((runs_folder(side, cell) / cell.rows[0]["run"] / "spec.json").read_bytes())
    except (OSError, ValueError):
        return {}
    blocks = ("task_options", "variant_options", "model", "training")
    found = {name: spec[name] for name in ("task_version", "plugin_version") if name in spec}
    for block in blocks:
        found |= {f"{block}.{name}": value for name, value in spec.get(block, {}).items()}
    return found
