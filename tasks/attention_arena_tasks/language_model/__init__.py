"""Catalogue entry of byte-level language modelling."""

from __future__ import annotations

from collections.abc import Sequence

from attention_arena.hooks import hookimpl
from attention_arena.task import Task
from attention_arena_tasks.language_model.data import LanguageModelOptions, load, needs

LANGUAGE_MODEL = Task(
    name="language_model",
    version=1,
    summary="Predict the next byte of a text: Python's own sources, or any file or folder.",
    paper="Al-Rfou et al. 2018, Character-Level Language Modeling with Deeper Self-Attention",
    options=LanguageModelOptions,
    needs=needs,
    load=load,
    small_options={"length": 32, "train_bytes": 20_000, "validation_bytes": 2_000, "test_bytes": 2_000},
)


@hookimpl
def register_tasks() -> Sequence[Task]:
    """Register the task."""
    return [LANGUAGE_MODEL]
