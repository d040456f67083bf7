"""A plan as text, for people who want to see what a study would do."""

from __future__ import annotations

from attention_arena.study.expand import brief
from attention_arena.study.plan import Plan, PlannedRun

HEADINGS = ("variant", "seeds", "steps", "notes")


def describe(plan: Plan) -> str:
    """Return the study's question, a table with the variants under each task, and what it adds up to."""
    parts = [f"{plan.study.name} (profile {plan.profile}), {plan.file}"]
    parts += [plan.study.question.strip()] if plan.study.question.strip() else []
    parts += ["", *_table(plan.runs), "", _total(plan)]
    parts += [f"warning: {warning}" for warning in plan.warnings]
    return "\n".join(parts)


def _table(runs: tuple[PlannedRun, ...]) -> list[str]:
    pairs = _pairs(runs)
    rows = [HEADINGS, *(_row(pair) for pair in pairs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    table = lines[:1]
    task = ""
    for pair, line in zip(pairs, lines[1:], strict=True):
        if _task_name(pair[0]) != task:
            task = _task_name(pair[0])
            table.append(task)
        table.append(line)
    return table


def _row(pair: list[PlannedRun]) -> tuple[str, str, str, str]:
    first = pair[0]
    label = f"{first.label}{' [baseline]' if first.baseline else ''}"
    if first.unsupported is not None:
        return label, "-", "-", f"unsupported: {first.unsupported}"
    seeds = " ".join(str(run.seed) for run in pair)
    notes = list(first.departs_from_shape)
    if first.match is not None:
        # The match says the width that it came to.
        notes = [note for note in notes if not note.startswith("d_ff=")] + [first.match.words]
    return label, seeds, str(first.training.steps), ", ".join(notes)


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
