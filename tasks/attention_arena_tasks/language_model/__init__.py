"""Catalogue entries of language modelling, left to right and masked, over the papers' corpora or any text."""

from __future__ import annotations

from collections.abc import Sequence

from attention_arena.hooks import hookimpl
from attention_arena.task import Task
from attention_arena_tasks.language_model import masked, next_token
from attention_arena_tasks.language_model.official import DATA_SETS

SMALL = {"length": 32, "train_bytes": 20_000, "validation_bytes": 2_000, "test_bytes": 2_000}

LANGUAGE_MODEL = Task(
    name="language_model",
    version=2,
    summary="Predict the next byte, character or word: enwik8, text8, WikiText, Penn Treebank, lm1b, or any text.",
    paper="Dai et al. 2019, Transformer-XL; Al-Rfou et al. 2018, Character-Level Language Modeling",
    options=next_token.LanguageModelOptions,
    needs=next_token.needs,
    load=next_token.load,
    small_options=SMALL,
    datasets=DATA_SETS,
)

MASKED_LANGUAGE_MODEL = Task(
    name="masked_language_model",
    version=2,
    summary="Predict hidden bytes, characters or words from both sides, on the same corpora.",
    paper="Devlin et al. 2019, BERT",
    options=masked.MaskedLanguageModelOptions,
    needs=masked.needs,
    load=masked.load,
    small_options=SMALL,
    datasets=DATA_SETS,
)


@hookimpl
def register_tasks() -> Sequence[Task]:
    """Register the tasks."""
    return [LANGUAGE_MODEL, MASKED_LANGUAGE_MODEL]
