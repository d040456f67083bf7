"""The columns of costs, and their cells: over some tasks, or of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from attention_arena.report.derived.summary import Summaries, Summary, TaskSummary
from attention_arena.report.derived.time_ratios import PHASES, TimeRatio
from attention_arena.report.rows.cells import NOT_PLANNED, Cell, Column, reason
from attention_arena.report.wording.numbers import count, ratio, significant, size
from attention_arena.statistics import Interval, geometric_mean

Tasks = Sequence[TaskSummary]


@dataclass(frozen=True)
class CostColumn:
    """A column, and the cell of a variant in it."""

    heading: Column
    cell: Callable[[str], Cell]
    """label -> cell"""


def step_column(summaries: Summaries, task: TaskSummary) -> CostColumn:
    """Return the time of a training step, which only steps of one task have in common."""
    return _recorded(summaries, [task], "step_ms", "training step", "ms ↓", significant)


def cost_columns(summaries: Summaries, tasks: Tasks, beside_time: Sequence[CostColumn] = ()) -> list[CostColumn]:
    """Return the costs over `tasks`, as geometric means; `beside_time` stand after the columns of time.

    Time against the baseline is the ratio measured by turns where there is one, otherwise that of throughputs. A study
    that trains nothing has ratios at its shortest and its longest length, no throughput and no peak of a training, and
    no column in which nothing stands.
    """
    speed = _recorded(summaries, tasks, "tokens_per_second", "training speed", "tokens/s ↑", count)
    timed = _time_columns(summaries, tasks)
    peak = _recorded(summaries, tasks, "peak_memory_bytes", "peak memory", "of the run ↓", size)
    rest = [
        _recorded(summaries, tasks, "saved_for_backward_bytes", "saved for backward", "of a step ↓", size),
        _recorded(summaries, tasks, "parameters", "parameters", "count", count),
        _recorded(summaries, tasks, "flops_per_token", "FLOPs", "per token ↓", count),
    ]
    if summaries.trains:
        return [speed, *timed, *beside_time, peak, *rest]
    return timed + [
        column for column in rest if any(column.cell(label).value is not None for label in summaries.labels)
    ]


def _time_columns(summaries: Summaries, tasks: Tasks) -> list[CostColumn]:
    if summaries.baseline is None:
        return []
    phases = [phase for phase in PHASES if any(each.phase == phase for each in summaries.time_ratios)]
    if summaries.trains:
        timed = [_timed(summaries, tasks, phase, longest=True) for phase in phases[:1]]
    else:
        timed = [_timed(summaries, tasks, phase, longest) for phase in phases for longest in (False, True)]
    return timed or [_by_throughput(summaries, tasks)]


def _timed(summaries: Summaries, tasks: Tasks, phase: str, longest: bool) -> CostColumn:
    task = tasks[0].label if len(tasks) == 1 else None
    found = {label: summaries.time_ratio(label, phase, task, longest) for label in summaries.labels}
    lengths = [each.length for each in found.values() if each is not None]
    length = (max if longest else min)(lengths, default=0)
    at, briefly = (f" at {length:,} tokens", f" at {length:,}") if lengths else ("", "")
    heading = Column(f"{phase} time", f"to the baseline’s{at} ↓", brief=f"to baseline{briefly} ↓")

    def cell(label: str) -> Cell:
        measured = found[label]
        if measured is not None:
            return _ratio(measured, length)
        return Cell(ratio(1), value=1.0) if label == summaries.baseline else _without(summaries, label, tasks)

    return CostColumn(heading, cell)


def _ratio(measured: TimeRatio, length: int) -> Cell:
    note = "" if measured.low is None or measured.high is None else bracketed(measured)
    elsewhere = f"at {measured.length:,}" if measured.length != length else ""
    return Cell(ratio(measured.value), note=" ".join(filter(None, (note, elsewhere))), value=measured.value)


def bracketed(measured: TimeRatio) -> str:
    """Return the interval of a ratio: `[1.21, 1.30]`; nothing where there is none."""
    if measured.low is None or measured.high is None:
        return ""
    return f"[{significant(measured.low)}, {significant(measured.high)}]"


def _by_throughput(summaries: Summaries, tasks: Tasks) -> CostColumn:
    def value(cell: Summary) -> float | None:
        return summaries.speed_ratio(cell.label, cell.task)

    return CostColumn(
        Column("speed ratio", "to the baseline"),
        lambda label: _mean(summaries, label, tasks, value, ratio, None, "not comparable"),
    )


def _recorded(
    summaries: Summaries, tasks: Tasks, name: str, title: str, below: str, write: Callable[[float], str]
) -> CostColumn:
    def value(cell: Summary) -> float | None:
        return cell.cost(name)

    return CostColumn(
        Column(title, below), lambda label: _mean(summaries, label, tasks, value, write, name, "not measured")
    )


def _mean(
    summaries: Summaries,
    label: str,
    tasks: Tasks,
    value: Callable[[Summary], float | None],
    write: Callable[[float], str],
    name: str | None,
    otherwise: str,
) -> Cell:
    """Return the mean over tasks; with one task, beside it the spread over seeds of the column `name`."""
    cells = [cell for task in tasks if (cell := summaries.cells.get((label, task.label)))]
    values = [found for cell in cells if (found := value(cell)) is not None]
    if not values:
        return _without(summaries, label, tasks, otherwise)
    mean = geometric_mean(values) if min(values) > 0 else sum(values) / len(values)
    note = f"{len(values)} of {len(tasks)} tasks" if len(values) < len(tasks) else ""
    if len(tasks) == 1 and name is not None:
        note = _spread(cells[0].costs.get(name), write)
    return Cell(write(mean), note=note, value=mean)


def _spread(interval: Interval | None, write: Callable[[float], str]) -> str:
    if interval is None or interval.high is None or interval.high == interval.value:
        return ""
    return f"± {write(interval.high - interval.value)}"


def _without(summaries: Summaries, label: str, tasks: Tasks, otherwise: str = "not measured") -> Cell:
    cells = [cell for task in tasks if (cell := summaries.cells.get((label, task.label)))]
    if not cells:
        return NOT_PLANNED
    if any(cell.n_done for cell in cells):
        return Cell(otherwise)
    return reason({status: detail for cell in cells for status, detail in cell.reasons.items()})
