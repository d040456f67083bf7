"""Published numbers laid beside a study's scores, in columns of their own; apart where the data are not the same."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from attention_arena.published import METRICS
from attention_arena.report.derived.summary import Summaries, Summary, TaskSummary
from attention_arena.report.reading.naming import task_labels
from attention_arena.report.reading.results import Results
from attention_arena.report.wording.numbers import decimals_for, fixed, spread

OURS = "ours"
COSTS = [name for name, kind in METRICS.items() if kind.is_cost]


@dataclass(frozen=True)
class Entry:
    """One number of a cell, and what it is of: our label, or the model as its source names it."""

    text: str
    of: str


@dataclass(frozen=True)
class PublishedTable:
    """One task's published scores."""

    heading: str
    measured_in: str
    remark: str
    """Whose data stand in which column."""
    comparable: bool
    """Whether our scores stand beside them."""
    columns: Sequence[str]
    """`ours`, if they do, then the sources."""
    rows: Sequence[tuple[str, Sequence[Sequence[Entry]]]]
    """A variant of ours or a model, and its entries by column."""


@dataclass(frozen=True)
class Published:
    """What a page says of published numbers."""

    tables: Sequence[PublishedTable]
    sources: Sequence[Mapping[str, str]]
    """source, citation, where, caveat, licence of each source that a table shows."""


def beside_published(results: Results, summaries: Summaries, published: pl.DataFrame) -> Published:
    """Return, for each task of one study that something was published on, a table; see `load_published`."""
    tables, shown = [], []
    for task, options in _tasks(results, summaries):
        found = _of_task(published, task, options)
        if not found.is_empty():
            tables.append(_table(summaries, task, options, found))
            shown.append(found)
    keys = ("source", "citation", "where", "caveat", "licence")
    rows = pl.concat(shown).select(keys).unique(maintain_order=True).to_dicts() if shown else []
    return Published(tables, rows)


def published_frame(results: Results, summaries: Summaries, published: pl.DataFrame) -> pl.DataFrame:
    """Return a row for each published score, and each cost published on the same tasks, which no table shows.

    Columns are those of `published`, then `data` (whose data the number is of), `ours` (what our own are) and `remark`.
    """
    frames = []
    for task, options in _tasks(results, summaries):
        found = _of_task(published, task, options)
        costs = published.filter(
            (pl.col("task") == task.name)
            & pl.col("metric").is_in(COSTS)
            & pl.col("options").is_in(["{}", *found["options"].unique()])
        )
        frames.append(
            pl.concat([found, costs]).with_columns(
                data=pl.lit("official"), ours=pl.lit(task.source), remark=pl.lit(_remark(task, options, found)[0])
            )
        )
    return pl.concat(frames) if frames else published.clear()


def _tasks(results: Results, summaries: Summaries) -> Iterable[tuple[TaskSummary, dict[str, Any]]]:
    keys = {label: key for key, label in task_labels(results.runs.select("task", "task_options").iter_rows()).items()}
    for task in summaries.tasks:
        yield task, json.loads(keys[task.label][1] or "{}")


def _of_task(published: pl.DataFrame, task: TaskSummary, options: Mapping[str, Any]) -> pl.DataFrame:
    """Return the scores published on a task; of its data sets, those that we have too, and all where that is none."""
    found = published.filter(
        (pl.col("task") == task.name) & (pl.col("metric") == task.metric) & (pl.col("unit") == task.unit)
    )
    same = [not _differing(options, each) for each in found["options"]]
    return found.filter(pl.Series(same, dtype=pl.Boolean)) if any(same) else found


def _differing(options: Mapping[str, Any], theirs: str) -> dict[str, Any]:
    return {key: value for key, value in json.loads(theirs).items() if options.get(key) != value}


def _remark(task: TaskSummary, options: Mapping[str, Any], found: pl.DataFrame) -> tuple[str, bool]:
    """Return what must be said of whose data are whose, and whether the two may stand side by side."""
    if task.source not in ("official", "generated"):
        what = "data of the user’s own" if task.source == "user" else f"a {task.source or 'data set not yet read'}"
        return f"official data; ours is {what}, not comparable", False
    differing = {key: None for each in found["options"] for key in _differing(options, each)}
    if differing:
        ours = ", ".join(f"{key}={options.get(key)}" for key in differing)
        return f"official data as the sources set it; ours has {ours}, not comparable", False
    if task.source == "generated":
        return "official data; ours is generated by the task, not the official files", True
    return "official data on both sides; models, training and splits differ", True


def _table(summaries: Summaries, task: TaskSummary, options: Mapping[str, Any], found: pl.DataFrame) -> PublishedTable:
    remark, comparable = _remark(task, options, found)
    ours = _ours(summaries, task) if comparable else {}
    variants = {cell.variant for cell in summaries.of_task(task)}
    sources = found["source"].unique(maintain_order=True).to_list()
    cells: dict[str, dict[str, list[Entry]]] = {name: {OURS: entries} for name, entries in ours.items()}
    models = sorted(found.to_dicts(), key=lambda row: (row["variant"] not in variants, row["named"].casefold()))
    for row in models:
        name = row["variant"] if row["variant"] in variants else row["named"]
        cells.setdefault(name, {}).setdefault(row["source"], []).append(_entry(row))
    columns = [OURS, *sources] if comparable else sources
    rows = [(name, [by_column.get(column, []) for column in columns]) for name, by_column in cells.items()]
    return PublishedTable(task.heading, task.measured_in, remark, comparable, columns, rows)


def _entry(row: Mapping[str, Any]) -> Entry:
    return Entry(f"{row['value']:.6g}", row["named"] + (f" ({row['note']})" if row["note"] else ""))


def _ours(summaries: Summaries, task: TaskSummary) -> dict[str, list[Entry]]:
    """Return our scores by variant."""
    cells = summaries.of_task(task)
    decimals = decimals_for([cell.score.value for cell in cells if cell.score], task.unit == "%")
    found: dict[str, list[Entry]] = {}
    for cell in cells:
        found.setdefault(cell.variant, []).append(Entry(_score(cell, decimals), cell.label))
    return found


def _score(cell: Summary, decimals: int) -> str:
    if cell.score is None:
        return ", ".join(cell.reasons) or "no score"
    return " ".join(part for part in (fixed(cell.score.value, decimals), spread(cell.score, decimals)) if part)
