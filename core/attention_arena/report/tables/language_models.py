"""What language models score under each protocol, and how much context they use, as tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from attention_arena.report.derived.language_models import by_protocol, effective_contexts
from attention_arena.report.reading.results import Results
from attention_arena.report.rows.cells import Cell, Column, Row, Table
from attention_arena.report.rows.language_model_tables import language_models


def protocols(results: Results) -> Iterator[Table]:
    """Yield a table for each task on which perplexity was measured by protocol."""
    found = language_models(results)
    frame = by_protocol(results)
    for table in found.protocols if found else ():
        numbers = frame.filter(pl.col("task") == table.task).to_dicts()
        yield Table(
            name=f"protocols-{table.task}",
            caption=f"{table.metric} by protocol on {table.task}",
            columns=[
                Column("protocol", is_number=False),
                Column(table.metric, "[95 % interval]"),
                Column("ms per token"),
                Column("tokens scored"),
                Column("sequences at a time"),
            ],
            rows=[_protocol(row, number) for row, number in zip(table.rows, numbers, strict=True)],
        )


def _protocol(row: dict[str, Any], number: dict[str, Any]) -> Row:
    cells = [
        Cell(row["protocol"]),
        Cell(row["value"], note=row["interval"], value=number["value"]),
        Cell(row["ms"], value=number["ms_per_token"]),
        Cell(row["tokens"], value=number["tokens"]),
        Cell(row["batch_size"], value=number["batch_size"]),
    ]
    return Row(row["label"], cells)


def contexts(results: Results) -> Table:
    """Return the context that each variant makes use of; without rows where none was measured."""
    found = language_models(results)
    numbers = effective_contexts(results)["tokens"]
    rows = [_context(row, tokens) for row, tokens in zip(found.contexts, numbers, strict=True)] if found else []
    return Table(
        name="contexts",
        caption="Effective context",
        columns=[
            Column("task", is_number=False),
            Column("effective context", "tokens"),
            Column("RECL, hardest 10 %", "tokens", is_number=False),
            Column("RECL, all tokens", "tokens", is_number=False),
            Column("remark", is_number=False),
        ],
        rows=rows,
    )


def _context(row: dict[str, Any], tokens: float) -> Row:
    cells = [Cell(row["task"]), Cell(row["tokens"], note=row["interval"], value=tokens)]
    return Row(row["label"], cells + [Cell(row[key]) for key in ("hardest", "all", "remark")])
