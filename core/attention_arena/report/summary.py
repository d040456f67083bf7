"""What each variant came to on each task, over its seeds: the numbers under every table, sentence and figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from attention_arena.report.naming import source_mark, task_labels
from attention_arena.report.results import Results
from attention_arena.statistics import Interval, geometric_mean, mean_interval, score_interval

COSTS = (
    "tokens_per_second",
    "step_ms",
    "peak_memory_bytes",
    "saved_for_backward_bytes",
    "parameters",
    "flops_per_token",
)


@dataclass(frozen=True)
class TaskSummary:
    """A task and how its scores are to be read."""

    label: str
    metric: str | None
    unit: str | None
    higher_is_better: bool | None
    source: str | None
    trivial: Mapping[str, float]
    """Scores that need no model, the weakest first."""

    @property
    def heading(self) -> str:
        """The label, with a mark where the data are not the official ones."""
        return self.label + source_mark(self.source)

    @property
    def measured_in(self) -> str:
        """Metric, unit and direction: `accuracy (%), higher is better`."""
        return self._measured({True: ", higher is better", False: ", lower is better", None: ""})

    @property
    def measured_briefly(self) -> str:
        """Metric, unit and direction for a narrow place: `accuracy (%) ↑`."""
        return self._measured({True: " ↑", False: " ↓", None: ""})

    def _measured(self, directions: Mapping[bool | None, str]) -> str:
        if self.metric is None:
            return "no score"
        named = self.unit is None or self.unit in self.metric.split("_")
        return self.metric.replace("_", " ") + ("" if named else f" ({self.unit})") + directions[self.higher_is_better]

    def better(self, value: float, other: float) -> bool:
        """Whether `value` beats `other`; never where the metric has no direction."""
        return self.higher_is_better is not None and (value > other if self.higher_is_better else value < other)

    def unbeaten(self, value: float) -> list[str]:
        """Return the scores without a model that `value` does not beat, the weakest first."""
        if self.higher_is_better is None:
            return []
        return [name for name, score in self.trivial.items() if not self.better(value, score)]

    def at_chance(self, value: float) -> bool:
        """Whether `value` beats no score at all of those that need no model."""
        return bool(self.trivial) and len(self.unbeaten(value)) == len(self.trivial)


@dataclass(frozen=True)
class Summary:
    """One variant on one task."""

    label: str
    variant: str
    baseline: bool
    task: str
    """The task's label."""
    n_runs: int
    """Seeds that were planned."""
    n_done: int
    n_scored: int
    """Seeds that have a score."""
    score: Interval | None
    reasons: Mapping[str, str]
    """Status -> detail, of the runs that have no score."""
    costs: Mapping[str, Interval]
    """Column -> mean over seeds, where there is one."""
    machine: frozenset[tuple[Any, ...]]
    """Where the throughput was measured."""

    def cost(self, column: str) -> float | None:
        """Return a cost's mean over seeds."""
        interval = self.costs.get(column)
        return None if interval is None else interval.value


@dataclass(frozen=True)
class Summaries:
    """A study's tasks, variants (the baseline first) and their summaries."""

    tasks: Sequence[TaskSummary]
    labels: Sequence[str]
    cells: Mapping[tuple[str, str], Summary]
    """(label, task label) -> summary; absent where the study did not plan it."""

    @property
    def baseline(self) -> str | None:
        """The label of the variant that others are compared with."""
        return next((cell.label for cell in self.cells.values() if cell.baseline), None)

    def of_label(self, label: str) -> list[Summary]:
        """Return a variant's summaries, task by task."""
        return [self.cells[label, task.label] for task in self.tasks if (label, task.label) in self.cells]

    def best(self, task: TaskSummary) -> Summary | None:
        """Return the variant with the best score, if scores have a direction."""
        scored = [cell for cell in self.of_task(task) if cell.score is not None]
        if not scored or task.higher_is_better is None:
            return None
        return (max if task.higher_is_better else min)(scored, key=_score_value)

    def of_task(self, task: TaskSummary) -> list[Summary]:
        """Return a task's summaries, variant by variant."""
        return [self.cells[label, task.label] for label in self.labels if (label, task.label) in self.cells]

    def speed_ratio(self, label: str, task: str | None = None) -> float | None:
        """Return training throughput over the baseline's: on one task, or the geometric mean over those both did.

        Only throughputs of the same machine and precision are compared.
        """
        ratios = []
        for cell in self.of_label(label):
            base = self.cells.get((self.baseline or "", cell.task))
            mine, theirs = cell.cost("tokens_per_second"), base and base.cost("tokens_per_second")
            if mine and theirs and base and cell.machine == base.machine and task in (None, cell.task):
                ratios.append(mine / theirs)
        return geometric_mean(ratios) if ratios else None


def _score_value(cell: Summary) -> float:
    assert cell.score is not None
    return cell.score.value


def summarise(results: Results) -> Summaries:
    """Summarise the runs of one study."""
    runs = results.runs.to_dicts()
    named = task_labels((row["task"], row["task_options"]) for row in runs)
    by_task: dict[str, list[dict[str, Any]]] = {}
    by_cell: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in runs:
        task = named[row["task"], row["task_options"]]
        by_task.setdefault(task, []).append(row)
        by_cell.setdefault((row["label"], task), []).append(row)
    labels = dict.fromkeys(row["label"] for row in sorted(runs, key=lambda row: not row["baseline"]))
    return Summaries(
        tasks=[_task(label, rows, results.baselines) for label, rows in by_task.items()],
        labels=list(labels),
        cells={key: _summary(key, rows) for key, rows in by_cell.items()},
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
    return TaskSummary(label, first("metric"), first("unit"), higher, first("source"), dict(weakest_first))


def _summary(key: tuple[str, str], rows: list[dict[str, Any]]) -> Summary:
    scored = [row for row in rows if row["status"] == "done" and _is_number(row["value"])]
    reasons: dict[str, str] = {}
    for row in rows:
        if row not in scored:
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
        score=_score(scored) if scored else None,
        reasons=reasons,
        costs=_costs([row for row in rows if row["status"] == "done"]),
        machine=frozenset(_machine(row) for row in rows if row["status"] == "done"),
    )


def _score(scored: list[dict[str, Any]]) -> Interval:
    row = scored[0]
    whole = None
    if "accuracy" in (row["metric"] or ""):
        whole = 100.0 if row["unit"] == "%" else 1.0
    return score_interval([each["value"] for each in scored], row["examples"], whole)


def _costs(done: list[dict[str, Any]]) -> dict[str, Interval]:
    values = {column: [row[column] for row in done if _is_number(row[column])] for column in COSTS}
    return {column: mean_interval(found) for column, found in values.items() if found}


def _machine(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return what must agree for two throughputs to compare; two devices of one kind do."""
    kind = (row["device"] or "").split(":")[0]
    return kind, row["device_name"], row["threads"], row["precision"]


def _is_number(value: Any) -> bool:
    return value is not None and math.isfinite(value)
