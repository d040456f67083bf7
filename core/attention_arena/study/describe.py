"""A plan as text, for people who want to see what a study would do."""

from __future__ import annotations

from attention_arena.study.expand import brief
from attention_arena.study.plan import Plan, PlannedRun

HEADINGS = ("task", "variant", "seeds", "steps", "notes")


def describe(plan: Plan) -> str:
    """Return the study's question, a table of task by variant, and what it adds up to."""
    parts = [f"{plan.study.name} (profile {plan.profile}), {plan.file}"]
    parts += [plan.study.question.strip()] if plan.study.question.strip() else []
    parts += ["", *_table(plan.runs), "", _total(plan)]
    parts += [f"warning: {warning}" for warning in plan.warnings]
    return "\n".join(parts)


def _table(runs: tuple[PlannedRun, ...]) -> list[str]:
    rows = [HEADINGS]
    previous = ""
    for pair in _pairs(runs):
        first = pair[0]
        task = _task_name(first)
        rows.append(
            (
                "" if task == previous else task,
                f"{first.label}{' [baseline]' if first.baseline else ''}",
                "-" if first.unsupported else " ".join(str(run.seed) for run in pair),
                "-" if first.unsupported else str(first.training.steps),
                f"unsupported: {first.unsupported}" if first.unsupported else ", ".join(first.departs_from_shape),
            )
        )
        previous = task
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _pairs(runs: tuple[PlannedRun, ...]) -> list[list[PlannedRun]]:
    """Return the runs of each task and variant together, which stand side by side in the plan."""
    pairs: list[list[PlannedRun]] = []
    for run in runs:
        if pairs and (pairs[-1][0].label, _task_name(pairs[-1][0])) == (run.label, _task_name(run)):
            pairs[-1].append(run)
        else:
            pairs.append([run])
    return pairs


def _task_name(run: PlannedRun) -> str:
    fields = type(run.task_options).model_fields
    changed = [
        f"{key}={brief(value)}"
        for key, value in run.task_options.model_dump(mode="json").items()
        if getattr(run.task_options, key) != fields[key].get_default(call_default_factory=True)
    ]
    return f"{run.task.name} ({', '.join(changed)})" if changed else run.task.name


def _total(plan: Plan) -> str:
    todo = [run for run in plan.runs if run.unsupported is None]
    n_unsupported = len(plan.runs) - len(todo)
    steps = sum(run.training.steps for run in todo)
    measures = dict.fromkeys(measure.name for run in todo for measure in run.measures)
    parts = [f"{len(todo)} {'run' if len(todo) == 1 else 'runs'}, {steps} steps in total"]
    parts += [f"{n_unsupported} unsupported"] if n_unsupported else []
    parts += [f"measured on the first seed: {', '.join(measures)}"] if measures else []
    return "; ".join(parts)
