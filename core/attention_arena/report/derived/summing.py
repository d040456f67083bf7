"""Runs summed up over their seeds, variant by variant and task by task, before anything is compared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

from attention_arena.report.derived.scores import ScoreReader
from attention_arena.report.derived.summaries import Summaries, Summary
from attention_arena.report.derived.task_summary import TaskSummary
from attention_arena.report.derived.time_ratios import time_ratios
from attention_arena.report.reading.naming import task_labels
from attention_arena.report.reading.results import Results, once
from attention_arena.statistics import Interval, mean_interval

COSTS = (
    "tokens_per_second",
    "step_ms",
    "peak_memory_bytes",
    "saved_for_backward_bytes",
    "parameters",
    "flops_per_token",
)


@once
def summed(results: Results) -> Summaries:
    """Return one study's summaries, without a verdict."""
    runs = results.runs.to_dicts()
    named = task_labels((row["task"], row["task_options"]) for row in runs)
    by_task: dict[str, list[dict[str, Any]]] = {}
    by_cell: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in runs:
        task = named[row["task"], row["task_options"]]
        by_task.setdefault(task, []).append(row)
        by_cell.setdefault((row["label"], task), []).append(row)
    labels = dict.fromkeys(row["label"] for row in sorted(runs, key=lambda row: not row["baseline"]))
    tasks = {label: _task(label, rows, results.baselines) for label, rows in by_task.items()}
    read = ScoreReader(results.measurements)
    done = [row for row in runs if row["status"] == "done"]
    return Summaries(
        tasks=list(tasks.values()),
        labels=list(labels),
        cells={key: _summary(key, rows, tasks[key[1]], read) for key, rows in by_cell.items()},
        time_ratios=time_ratios(results),
        references=frozenset(label for study in results.studies for label in study.references),
        trains=not done or any(row["steps"] != 0 for row in done),
    )


def _task(label: str, rows: list[dict[str, Any]], baselines: pl.DataFrame) -> TaskSummary:
    def first(column: str) -> Any:
        return next((row[column] for row in rows if row[column] is not None), None)

    keys = {(row["task"], row["task_options"]) for row in rows}
    found = baselines.select("task", "task_options", "name", "value").iter_rows()
    trivial = {name: value for task, options, name, value in found if (task, options) in keys}
    for row in rows:
        if row["trivial_baseline"] is not None:
            trivial.setdefault(row["trivial_baseline_name"] or "trivial baseline", row["trivial_baseline"])
    higher = first("higher_is_better")
    weakest_first = sorted(trivial.items(), key=lambda item: item[1], reverse=higher is False)
    return TaskSummary(
        name=rows[0]["task"],
        label=label,
        metric=first("metric"),
        unit=first("unit"),
        higher_is_better=higher,
        source=first("source"),
        trivial=dict(weakest_first),
    )


def _summary(key: tuple[str, str], rows: list[dict[str, Any]], task: TaskSummary, read: ScoreReader) -> Summary:
    scored = [row for row in rows if _has_score(row)]
    last = [row for row in scored if _is_number(row["value_last"])]
    reasons: dict[str, str] = {}
    for row in rows:
        if not _has_score(row):
            status = "no score" if row["status"] == "done" else row["status"]
            reasons.setdefault(status, row["detail"] or "")
    return Summary(
        label=key[0],
        variant=rows[0]["variant"],
        baseline=bool(rows[0]["baseline"]),
        task=key[1],
        n_runs=len(rows),
        n_done=sum(row["status"] == "done" for row in rows),
        n_scored=len(scored),
        score=read.over_seeds(scored) if scored else None,
        score_last=read.over_seeds(last, at_last_step=True) if last else None,
        n_at_chance=sum(task.at_chance(read.of_run(row)) for row in scored),
        verdict=None,
        against_best=None,
        reasons=reasons,
        costs=_costs([row for row in rows if row["status"] == "done"]),
        machine=frozenset(_machine(row) for row in rows if row["status"] == "done"),
    )


def _costs(done: list[dict[str, Any]]) -> dict[str, Interval]:
    values = {column: [row[column] for row in done if _is_number(row[column])] for column in COSTS}
    return {column: mean_interval(found) for column, found in values.items() if found}


def _machine(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return what must agree for two throughputs to compare; two devices of one kind do."""
    kind = (row["device"] or "").split(":")[0]
    return kind, row["device_name"], row["threads"], row["precision"]


def _has_score(row: Mapping[str, Any]) -> bool:
    return row["status"] == "done" and _is_number(row["value"])


def _is_number(value: Any) -> bool:
    return value is not None and math.isfinite(value)
