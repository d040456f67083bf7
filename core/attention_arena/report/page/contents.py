"""What a report's page says beside its table and figures: one function for each section."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import polars as pl

from attention_arena.report.derived.summary import Summaries
from attention_arena.report.reading.naming import task_labels
from attention_arena.report.reading.results import Results

Rows = list[dict[str, Any]]


def unfinished(results: Results) -> Rows:
    """Return the runs that are not done, alike ones together: task, label, status, detail, seeds."""
    rows = _labelled(results).filter(pl.col("status") != "done")
    return (
        rows.group_by("task", "label", "status", "detail", maintain_order=True)
        .agg(pl.col("seed").cast(pl.String).str.join(", ").alias("seeds"), pl.col("run").first())
        .to_dicts()
    )


def departures(results: Results) -> Rows:
    """Return where a variant's model differs from the shared shape, and why: label, departs_from_shape.

    What holds on some of a variant's tasks alone names them.
    """
    [study] = results.studies
    matches = {each["run"]: each.get("match") for each in study.runs}
    told: dict[str, dict[str, list[str]]] = {}
    for row in _labelled(results).iter_rows(named=True):
        text = _departure(row["departs_from_shape"], matches.get(row["run"]))
        tasks = told.setdefault(row["label"], {}).setdefault(text, [])
        if row["task"] not in tasks:
            tasks.append(row["task"])
    return [
        {"label": label, "departs_from_shape": text if len(texts) == 1 else f"{text} (on {', '.join(tasks)})"}
        for label, texts in told.items()
        for text, tasks in texts.items()
        if text
    ]


def _departure(departs: str | None, match: str | None) -> str:
    """Return a run's departures in words; a match says itself which d_ff it came to."""
    parts = departs.split(", ") if departs else []
    if match:
        parts = [part for part in parts if not part.startswith("d_ff=")] + [match]
    return ", ".join(parts)


def caveats(results: Results) -> Rows:
    """Return the checks that a variant is known not to pass: variant, check, why."""
    [study] = results.studies
    return [
        {"variant": variant, "check": check.replace("_", " "), "why": why}
        for variant, found in study.caveats.items()
        if variant in set(results.runs["variant"])
        for check, why in found.items()
    ]


def sources(results: Results, summaries: Summaries) -> Rows:
    """Return, for each task, where its data came from, and the scores that need no model."""
    keys = {label: key for key, label in _task_names(results).items()}
    described = {(row["task"], row["task_options"]): row for row in results.sources.iter_rows(named=True)}
    rows: Rows = []
    for task in summaries.tasks:
        key = keys[task.label]
        runs = results.runs.filter((pl.col("task") == key[0]) & pl.col("task_options").eq_missing(pl.lit(key[1])))
        told = described.get(key, {})
        rows.append(
            {
                "task": task.heading,
                "version": _known(runs, "task_version"),
                "options": _options(key[1]),
                "kind": told.get("kind") or task.source,
                "description": told.get("description"),
                "licence": told.get("licence"),
                "hash": _known(runs, "data_hash"),
                "examples": _known(runs, "examples"),
                "length": _known(runs, "length"),
                "trivial": dict(task.trivial),
            }
        )
    return rows


def machines(results: Results) -> Rows:
    """Return the machines and versions that runs were done with, and how many runs each did."""
    columns = ["device", "device_name", "threads", "precision", "torch_version", "arena_version", "commit", "dirty"]
    rows = results.runs.filter(pl.col("started_at").is_not_null())
    return rows.group_by(columns, maintain_order=True).len("runs").to_dicts()


def unmeasured(results: Results) -> Rows:
    """Return measurements without a value, with the reason: label, task, measure, phase, lengths, detail."""
    rows = _labelled(results, results.measurements).filter(pl.col("value").is_null())
    return (
        rows.group_by("label", "task", "measure", "phase", "detail", maintain_order=True)
        .agg(pl.col("length").drop_nulls().unique(maintain_order=True).cast(pl.String).str.join(", ").alias("lengths"))
        .with_columns(pl.col("measure").str.replace_all("_", " "))
        .to_dicts()
    )


def warnings_of(results: Results) -> list[str]:
    """Return what a reader must know before trusting the numbers."""
    found = [note.text for note in results.notes]
    done = results.runs.filter(pl.col("status") == "done")
    places = done.select("device_name", "threads", "precision").unique()
    if len(places) > 1:
        found.append(
            f"Runs were done in {len(places)} settings of machine, threads and precision; "
            "speed and memory compare only within one, and a speed ratio across two is left out."
        )
    marks = {"stand-in": "stand-in data", "user": "data of the user's own"}
    for kind, words in marks.items():
        tasks = sorted(set(results.runs.filter(pl.col("source") == kind)["task"]))
        if tasks:
            found.append(
                f"Scores on {', '.join(tasks)} were taken on {words}; they are not scores of the official task."
            )
    if done["dirty"].any():
        found.append("Some runs were done from a working tree with changes that no commit holds.")
    return found


def references(results: Results) -> list[tuple[str, str]]:
    """Return the papers of the variants and tasks that take part."""
    [study] = results.studies
    present = {*results.runs["variant"], *results.runs["task"]}
    return sorted((name, paper) for name, paper in study.papers.items() if name in present)


def wall_time(results: Results) -> str:
    """Return how long the runs took together."""
    seconds = results.runs["seconds"].sum()
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _task_names(results: Results) -> dict[tuple[str, str | None], str]:
    return task_labels(results.runs.select("task", "task_options").iter_rows())


def _labelled(results: Results, frame: pl.DataFrame | None = None) -> pl.DataFrame:
    """Return a frame of runs with the task's label for its name."""
    frame = results.runs if frame is None else frame
    names = _task_names(results)
    labels: Sequence[str] = [names[key] for key in frame.select("task", "task_options").iter_rows()]
    return frame.with_columns(task=pl.Series(labels, dtype=pl.String))


def _known(runs: pl.DataFrame, column: str) -> Any:
    found = runs[column].drop_nulls().unique(maintain_order=True).to_list()
    if len(found) > 1:
        return ", ".join(str(each) for each in found)
    return found[0] if found else None


def _options(options: str | None) -> str:
    if options is None:
        return ""
    return ", ".join(
        f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in json.loads(options).items()
    )
