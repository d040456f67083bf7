"""What a page tells of single runs: a line for each in the page, and the rest in files that it loads on demand.

A file holds some runs, as a script that hands them over: a page opened from disk may load a script and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from markupsafe import Markup

from attention_arena.report.reading.naming import task_labels
from attention_arena.report.reading.results import Results
from attention_arena.report.wording.numbers import count, significant, size
from attention_arena.runs.files import write_whole

PER_FILE = 40
"""Runs in a file: few files, each of which opens at once."""
LEAST_POINTS, MOST_POINTS, ALL_POINTS = 20, 100, 100_000
"""Points of one curve: so many at least and at most, and of one curve of each run together."""
DIGITS, SORTED_DIGITS = 5, 9
"""Of a curve's value, more than its plot can show, and of a number to sort by; parquet files have all digits."""
LOG_LINES, LOG_LETTERS = 40, 4000
"""Of a log's end."""
LEFT_OUT = frozenset({"learning_rate"})
COLUMNS = ("run", "variant", "task", "seed", "status", "score", "tokens per second", "peak memory", "seconds", "reason")
"""Of a line; each is the text shown, or the text and the number to sort by."""


class Curve(NamedTuple):
    """A run's values of one metric on one split, and the steps at which they were measured."""

    split: str
    metric: str
    steps: tuple[int, ...]
    values: list[float]


def run_lines(results: Results) -> list[list[Any]]:
    """Return a line for each run, in the plan's order; see `COLUMNS`."""
    names = task_labels(results.runs.select("task", "task_options").iter_rows())
    return [_line(row, names[row["task"], row["task_options"]]) for row in results.runs.iter_rows(named=True)]


def _line(row: Mapping[str, Any], task: str) -> list[Any]:
    unit = "%" if row["unit"] == "%" else (row["metric"] or "").replace("_", " ")
    return [
        row["run"],
        row["label"],
        task,
        row["seed"],
        row["status"],
        _number(row["value"], lambda value: f"{significant(value, 4)} {unit}".rstrip()),
        _number(row["tokens_per_second"], count),
        _number(row["peak_memory_bytes"], size),
        _number(row["seconds"], significant),
        row["detail"] or "",
    ]


def _number(value: float | None, words: Any) -> Any:
    """Return a number as it is shown and as it is sorted by."""
    return None if value is None or value != value else [words(value), float(f"{value:.{SORTED_DIGITS}g}")]


def write_run_files(results: Results, folder: Path, target: Path) -> None:
    """Write what the runs below `folder` were, learnt and said into `target`; remove what an earlier report left."""
    target.mkdir(parents=True, exist_ok=True)
    rows = results.runs.to_dicts()
    curves = _curves(results.curves, max(LEAST_POINTS, min(MOST_POINTS, ALL_POINTS // max(1, len(rows)))))
    written = set()
    for first in range(0, len(rows), PER_FILE):
        path = target / f"{first // PER_FILE:04}.js"
        told = _together(rows[first : first + PER_FILE], folder, curves)
        write_whole(path, f"arenaRuns({json.dumps(told, separators=(',', ':'))});\n")
        written.add(path)
    for left in set(target.glob("*.js")) - written:
        left.unlink()


def _together(rows: list[dict[str, Any]], folder: Path, curves: Mapping[str, list[Curve]]) -> dict[str, Any]:
    """Return what a file holds of its runs, each thing that several of them have in common once.

    `shared` are the record's columns in which all agree, `columns` the others, a value for each run; `specs` and
    `steps` are what runs and curves refer to by place. A curve is a split, a metric, the place of its steps and values.
    """
    shared = {key: value for key, value in rows[0].items() if all(row[key] == value for row in rows)}
    specs: dict[str, int] = {}
    steps: dict[tuple[int, ...], int] = {}
    asked, learnt, logs = [], [], []
    for row in rows:
        inside = folder / "runs" / row["run"]
        asked.append(specs.setdefault(_spec(inside / "spec.json"), len(specs)))
        own = curves.get(row["run"], [])
        learnt.append([[*each[:2], steps.setdefault(each.steps, len(steps)), each.values] for each in own])
        logs.append(_end(inside))
    return {
        "shared": {key: value for key, value in shared.items() if value is not None},
        "columns": {key: [row[key] for row in rows] for key in rows[0] if key not in shared or key == "run"},
        "specs": list(specs),
        "steps": list(steps),
        "spec": asked,
        "curves": learnt,
        "logs": logs,
    }


def _spec(path: Path) -> str:
    """Return what a run was asked, less its seed, in which alone it may differ from its neighbours."""
    try:
        spec = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return ""
    return json.dumps({key: value for key, value in spec.items() if key != "seed"}, ensure_ascii=False)


def _end(inside: Path) -> str:
    """Return the last lines of a run's log."""
    try:
        text = (inside / "log.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text[-LOG_LETTERS:].splitlines()[-LOG_LINES:])


def _curves(frame: pl.DataFrame, most: int) -> dict[str, list[Curve]]:
    """Return each run's curves, of at most so many points each."""
    found: dict[str, list[Curve]] = {}
    shown = frame.filter(~pl.col("metric").is_in(list(LEFT_OUT)) & pl.col("value").is_finite())
    for (run, split, metric), rows in shown.group_by("run", "split", "metric", maintain_order=True):
        # The last point is the one that is read off.
        kept = rows.reverse().gather_every(-(-len(rows) // most)).reverse()
        values = [float(f"{value:.{DIGITS}g}") for value in kept["value"]]
        found.setdefault(str(run), []).append(Curve(str(split), str(metric), tuple(kept["step"]), values))
    return found


def embedded(value: Any) -> Markup:
    """Return data as they stand inside a page: JSON in which no mark can end the element."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)
