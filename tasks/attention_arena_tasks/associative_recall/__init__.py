"""Catalogue entry of multi-query associative recall (Arora et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence

from attention_arena.hooks import hookimpl
from attention_arena.task import Task
from attention_arena_tasks.associative_recall.data import AssociativeRecallOptions, load, needs

ASSOCIATIVE_RECALL = Task(
    name="associative_recall",
    version=1,
    summary="Recall the value that each of many keys was paired with, among noise: accuracy at the queries.",
    paper="Arora et al. 2023, Zoology",
    options=AssociativeRecallOptions,
    needs=needs,
    load=load,
    small_options={
        "length": 32,
        "n_pairs": 4,
        "vocab_size": 64,
        "n_train": 256,
        "n_validation": 64,
        "n_test": 64,
    },
)


@hookimpl
def register_tasks() -> Sequence[Task]:
    """Register the task."""
    return [ASSOCIATIVE_RECALL]
