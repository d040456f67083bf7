"""The task of predicting hidden tokens from both sides: a perplexity for variants that cannot be causal."""

from __future__ import annotations

import json
from pathlib import Path

from attention_arena.objectives import MaskedLanguageModeling
from attention_arena.prepared import prepared
from attention_arena.splits import StreamSplit
from attention_arena.task import TaskData, TaskNeeds
from attention_arena_tasks.language_model.data import TextOptions, adaptive_for, is_tied, prepare_text
from attention_arena_tasks.language_model.masked_baselines import masked_baselines
from attention_arena_tasks.language_model.masking import MaskedSplit
from attention_arena_tasks.language_model.texts import SPLITS

FORMAT = 1
FOLDER = "masked_language_model"


class MaskedLanguageModelOptions(TextOptions):
    """Options of the masked language model."""


def needs(options: MaskedLanguageModelOptions) -> TaskNeeds:
    """Return what a variant must be able to do."""
    return TaskNeeds(MaskedLanguageModeling.requires, options.length, causal=False, predicts_tokens=True)


def load(options: MaskedLanguageModelOptions, folder: Path) -> TaskData:
    """Return the data, prepared under `folder` at first use; the streams are those of `language_model`."""
    text = prepare_text(options, folder)
    n_tokens = len(text.vocabulary)
    streams = (StreamSplit.open(text.ready, name, options.length) for name in SPLITS)
    train, validation, test = (MaskedSplit(stream, n_tokens, options.length) for stream in streams)

    def make(target: Path) -> None:
        scores = masked_baselines(train.tokens, test, options.reads)
        (target / "baselines.json").write_text(json.dumps(scores, indent=1))

    ready = prepared(folder / FOLDER, f"{text.ready.name}-{FORMAT}-{test.content_hash[:16]}", make)
    return TaskData(
        vocab_size=n_tokens + 1,
        max_length=options.length,
        objective=MaskedLanguageModeling(
            n_tokens + 1,
            unit=options.reads,
            tied=is_tied(options),
            adaptive=adaptive_for(options, n_tokens + 1),
        ),
        train=train,
        validation=validation,
        test=test,
        source=text.source,
        trivial_baselines=json.loads((ready / "baselines.json").read_text()),
    )
