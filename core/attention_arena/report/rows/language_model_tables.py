"""The page's section on language models: tables of protocols and of effective contexts, as they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import polars as pl

from attention_arena.report.derived.language_models import by_protocol, effective_contexts
from attention_arena.report.derived.relative_context import relative_contexts
from attention_arena.report.figures.perplexity import curves
from attention_arena.report.reading.results import Results
from attention_arena.report.wording.numbers import decimals_for, fixed, significant

Rows = Sequence[dict[str, Any]]


class ProtocolTable(NamedTuple):
    """One task's table."""

    task: str
    metric: str
    rows: Rows
    """label, protocol, value, interval, ms, tokens, batch_size; each as text."""


class LanguageModels(NamedTuple):
    """What the section shows; either may be empty."""

    protocols: Sequence[ProtocolTable]
    contexts: Rows
    """label, task, tokens, interval, hardest, all, remark; each as text."""


def language_models(results: Results) -> LanguageModels | None:
    """Return the section's content, or None where no measure of language models has found anything."""
    found = LanguageModels(_protocol_tables(by_protocol(results)), _context_rows(results))
    return found if found.protocols or found.contexts or not curves(results).is_empty() else None


def _protocol_tables(frame: pl.DataFrame) -> list[ProtocolTable]:
    tables = []
    for task in frame["task"].unique(maintain_order=True):
        rows = frame.filter(pl.col("task") == task)
        decimals = decimals_for(rows["value"].to_list(), percent=rows["unit"][0] == "%")
        shown = [_protocol_row(row, decimals) for row in rows.iter_rows(named=True)]
        tables.append(ProtocolTable(task, rows["metric"][0].replace("_", " "), shown))
    return tables


def _protocol_row(row: dict[str, Any], decimals: int) -> dict[str, str]:
    return {
        "label": row["label"],
        "protocol": row["protocol"],
        "value": fixed(row["value"], decimals),
        "interval": _ends(row["low"], row["high"], decimals),
        "ms": "" if row["ms_per_token"] is None else significant(row["ms_per_token"]),
        "tokens": f"{row['tokens']:,}",
        "batch_size": "" if row["batch_size"] is None else f"{row['batch_size']:,}",
    }


def _context_rows(results: Results) -> Rows:
    relative = {
        (row["task"], row["label"], row["hardest"]): _length(row["tokens"], row["at_least"])
        for row in relative_contexts(results).iter_rows(named=True)
    }
    return [
        {
            "label": row["label"],
            "task": row["task"],
            "tokens": _length(row["tokens"], row["detail"] is not None),
            "interval": _ends(row["low"], row["high"], 0),
            "hardest": relative.get((row["task"], row["label"], 0.1), ""),
            "all": relative.get((row["task"], row["label"], 1.0), ""),
            "remark": "; ".join(part for part in (row["threshold"], row["detail"]) if part),
        }
        for row in effective_contexts(results).iter_rows(named=True)
    ]


def _length(tokens: float, at_least: bool) -> str:
    return f"{'≥ ' if at_least else ''}{tokens:,.0f}"


def _ends(low: float | None, high: float | None, decimals: int) -> str:
    if low is None:
        return ""
    return f"[{fixed(low, decimals)}, {'beyond' if high is None else fixed(high, decimals)}]"
