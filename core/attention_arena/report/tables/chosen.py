"""Which tables a report writes as files: those of its page, cell for cell, each under a name of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import polars as pl

from attention_arena.report.derived.summary import Summaries, summarise
from attention_arena.report.reading.results import Results
from attention_arena.report.rows.answer import answer_table, cost_table, last_step_table
from attention_arena.report.rows.cells import Table
from attention_arena.report.tables.costs import break_even, capacity, exponents
from attention_arena.report.tables.language_models import contexts, protocols
from attention_arena.report.tables.runs import covered, departures, machines, sources, unfinished, unmeasured
from attention_arena.report.tables.scores import comparisons

NAMES = {
    "scores": "every variant's score on each task, with averages and costs, where the study trains",
    "last_step": "the scores with the weights that training ended with",
    "comparisons": "each variant against the baseline, example by example",
    "costs": "costs alone: of a study that trains nothing, and `costs-TASK` of each task",
    "exponents": "`exponents-TASK`: how costs grow with length, claimed and fitted",
    "break_even": "`break_even-TASK`: from which length on a variant is faster",
    "capacity": "the largest batch and the largest length that fit",
    "protocols": "`protocols-TASK`: a language model's score and time under each protocol",
    "contexts": "how much context language models make use of",
    "coverage": "how many runs of every variant on every task are done",
    "unfinished": "runs that are not done, and why",
    "unmeasured": "measurements without a value, and why",
    "sources": "where each task's data came from",
    "machines": "machines and versions",
    "departures": "where a variant's model differs from the shared shape",
}
"""Name -> what the table holds; `-TASK` stands for one file a task."""


def report_tables(results: Results, compared: pl.DataFrame) -> list[Table]:
    """Return the tables of one study that have a row, each with a name that no other has."""
    summaries = summarise(results, compared)
    return list(_named_apart(table for table in _all(results, summaries) if table.rows))


def _all(results: Results, summaries: Summaries) -> Iterator[Table]:
    yield from _of_scores(summaries)
    if summaries.trains or len(summaries.tasks) > 1:
        for task in summaries.tasks:
            yield replace(cost_table(summaries, task), name=f"costs-{task.label}", caption=f"Costs on {task.heading}")
    yield from exponents(results)
    yield from break_even(results)
    yield capacity(results)
    yield from protocols(results)
    yield contexts(results)
    yield covered(summaries)
    yield from (table(results) for table in (unfinished, unmeasured, machines, departures))
    yield sources(results, summaries)


def _of_scores(summaries: Summaries) -> Iterator[Table]:
    if not summaries.trains:
        yield replace(answer_table(summaries), name="costs", caption="Costs of every variant")
        return
    yield replace(answer_table(summaries), name="scores", caption="Scores and costs of every variant")
    yield replace(last_step_table(summaries), name="last_step", caption="Scores at the last step")
    yield comparisons(summaries)


def _named_apart(tables: Iterator[Table]) -> Iterator[Table]:
    """Yield tables whose names are fit for files and labels, counted where two would share one."""
    seen: dict[str, int] = {}
    for table in tables:
        name = re.sub(r"[^A-Za-z0-9_]+", "-", table.name).strip("-")
        seen[name] = seen.get(name, 0) + 1
        yield replace(table, name=name if seen[name] == 1 else f"{name}-{seen[name]}")


def is_ours(name: str, names: Sequence[str] = tuple(NAMES)) -> bool:
    """Whether a file of this name, without its ending, is one that a report writes."""
    return name.partition("-")[0] in names
