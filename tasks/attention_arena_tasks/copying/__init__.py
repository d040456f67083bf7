"""Catalogue entry of copying: what came before, word for word or one symbol at a time."""

from __future__ import annotations

from collections.abc import Sequence

from attention_arena.hooks import hookimpl
from attention_arena.task import Task
from attention_arena_tasks.copying.data import CopyingOptions, load, needs

COPYING = Task(
    name="copying",
    version=1,
    summary="Copy random symbols: a word repeated at once, or each symbol from a fixed distance back.",
    paper="Kitaev et al. 2020, Reformer: the duplication task of its analysis on synthetic data",
    options=CopyingOptions,
    needs=needs,
    load=load,
    small_options={"length": 32, "n_symbols": 15, "n_train": 128, "n_validation": 32, "n_test": 32},
)


@hookimpl
def register_tasks() -> Sequence[Task]:
    """Register the task."""
    return [COPYING]
