"""The task of predicting the next token: its options are those of the text, and nothing else."""

from __future__ import annotations

from pathlib import Path

from attention_arena.objectives import LanguageModeling
from attention_arena.splits import StreamSplit
from attention_arena.task import TaskData, TaskNeeds
from attention_arena_tasks.language_model.data import TextOptions, adaptive_for, is_tied, prepare_text
from attention_arena_tasks.language_model.texts import SPLITS


class LanguageModelOptions(TextOptions):
    """Options of the language model."""


def needs(options: LanguageModelOptions) -> TaskNeeds:
    """Return what a variant must be able to do."""
    return TaskNeeds(LanguageModeling.requires, options.length, causal=True)


def load(options: LanguageModelOptions, folder: Path) -> TaskData:
    """Return the data, prepared under `folder` at first use."""
    text = prepare_text(options, folder)
    n_tokens = len(text.vocabulary)
    unrelated = options.release.unrelated if options.release else None
    train, validation, test = (StreamSplit.open(text.ready, name, options.length, unrelated) for name in SPLITS)
    return TaskData(
        vocab_size=n_tokens,
        max_length=options.length,
        objective=LanguageModeling(
            n_tokens,
            unit=options.reads,
            tied=is_tied(options),
            token_bytes=None if options.reads == "byte" else text.vocabulary.n_bytes.tolist(),
            adaptive=adaptive_for(options, n_tokens),
        ),
        train=train,
        validation=validation,
        test=test,
        source=text.source,
        trivial_baselines=text.baselines,
    )
