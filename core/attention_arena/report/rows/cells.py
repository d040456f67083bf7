"""What a table of the report is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WORST_FIRST = ("failed", "diverged", "oom", "timeout", "unsupported", "no score", "running", "pending")


@dataclass(frozen=True)
class Cell:
    """What one cell shows."""

    text: str
    """The number, or the word that says why there is none."""
    note: str = ""
    """The interval, and how many runs are behind it if not all."""
    detail: str = ""
    """The reason at length."""
    value: float | None = None
    best: bool = False
    """Whether it is the task's best score, or as good."""
    near_best: bool = False
    """Whether it is not that, and not shown to be worse."""
    verdict: str = ""
    """Against the baseline: better, worse, no difference shown; nothing where that was not told."""
    flag: str = ""
    """`at chance`: its runs beat no score that needs no model."""
    mark: str = ""
    """Points to the note that names the weakest score without a model that it is not shown to beat."""


@dataclass(frozen=True)
class Column:
    """A column's heading."""

    title: str
    below: str = ""
    """Metric, unit and direction."""
    task: str = ""
    """The task's label, where the column is one task's."""
    is_number: bool = True
    """Whether its cells are numbers, or reasons in place of one; otherwise they are text."""
    brief: str = ""
    """`below` for a page's narrow columns, where it is long."""


@dataclass(frozen=True)
class Row:
    """A variant, or a score that needs none."""

    label: str
    cells: Sequence[Cell]
    baseline: bool = False
    trivial: bool = False


@dataclass(frozen=True)
class Table:
    """A table as it is shown, on a page and in every file; `notes` explain its marks."""

    columns: Sequence[Column]
    rows: Sequence[Row]
    n_scores: int = 0
    """How many of the columns, from the left, are scores."""
    notes: Sequence[str] = ()
    name: str = ""
    """Of its files, without their ending."""
    caption: str = ""
    head: str = "variant"
    """What the rows' labels are."""
    ends: Sequence[Row] = ()
    """The weakest and the best score without a model of each column, with its name: what a page has room for."""


NOT_PLANNED = Cell("", detail="not planned")


def reason(reasons: Mapping[str, str]) -> Cell:
    """Return the cell of runs without a number."""
    known = sorted(reasons, key=lambda status: WORST_FIRST.index(status) if status in WORST_FIRST else 0)
    return Cell(", ".join(known), detail="; ".join(f"{status}: {reasons[status]}" for status in known))
