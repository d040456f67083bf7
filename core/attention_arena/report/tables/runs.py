"""What ran and what did not, on what data and where, as tables."""

from __future__ import annotations

from attention_arena.report.derived.coverage import Covered, coverage
from attention_arena.report.derived.summary import Summaries
from attention_arena.report.page import contents
from attention_arena.report.reading.results import Results
from attention_arena.report.rows.cells import Cell, Column, Row, Table
from attention_arena.report.tables.text import text_table

VARIANT = ("label", "variant")


def covered(summaries: Summaries) -> Table:
    """Return how many runs of every variant on every task are done."""
    return Table(
        name="coverage",
        caption="Runs done of every variant on every task",
        columns=[Column(task.heading, task=task.label, is_number=False) for task in summaries.tasks],
        rows=[Row(label, [_covered(each) for each in cells]) for label, cells in coverage(summaries)],
    )


def _covered(each: Covered) -> Cell:
    return Cell(each.text, note=each.reasons)


def unfinished(results: Results) -> Table:
    """Return the runs that are not done, alike ones together."""
    columns = {"task": "task", "seeds": "seeds", "status": "status", "detail": "reason"}
    return text_table("unfinished", "Runs that did not finish", VARIANT, columns, contents.unfinished(results))


def unmeasured(results: Results) -> Table:
    """Return the measurements without a value, alike ones together."""
    columns = {"task": "task", "measure": "measure", "phase": "phase", "lengths": "lengths", "detail": "reason"}
    return text_table("unmeasured", "What could not be measured", VARIANT, columns, contents.unmeasured(results))


def departures(results: Results) -> Table:
    """Return where a variant's model differs from the shared shape."""
    columns = {"departs_from_shape": "departure"}
    return text_table("departures", "Departures from the shared shape", VARIANT, columns, contents.departures(results))


def sources(results: Results, summaries: Summaries) -> Table:
    """Return where each task's data came from."""
    columns = {
        "kind": "source",
        "description": "description",
        "licence": "licence",
        "version": "task version",
        "options": "options",
        "length": "longest sequence (tokens)",
        "examples": "test examples",
        "hash": "SHA-256 of the data",
    }
    return text_table("sources", "Data of each task", ("task", "task"), columns, contents.sources(results, summaries))


def machines(results: Results) -> Table:
    """Return the machines and versions that runs were done with."""
    columns = {
        "device": "device",
        "threads": "threads",
        "precision": "precision",
        "torch_version": "torch",
        "arena_version": "attention-arena",
        "commit": "commit",
        "dirty": "with changes",
        "runs": "runs",
    }
    rows = [row | {"device_name": row["device_name"] or "unknown"} for row in contents.machines(results)]
    return text_table("machines", "Machines and versions", ("device_name", "machine"), columns, rows)
