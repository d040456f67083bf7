"""Catalogue entry of byte-level text classification, as the Long Range Arena sets it."""

from __future__ import annotations

from collections.abc import Sequence

from attention_arena.datasets import DataSet, RemoteFile
from attention_arena.hooks import hookimpl
from attention_arena.task import Task
from attention_arena_tasks.text import imdb
from attention_arena_tasks.text.data import TextOptions, load, needs

TEXT = Task(
    name="text",
    version=1,
    summary="Classify a text read byte by byte, up to 4096 of them: IMDb reviews, or a stand-in; two classes.",
    paper="Tay et al. 2020, Long Range Arena; Maas et al. 2011, Learning Word Vectors for Sentiment Analysis",
    options=TextOptions,
    needs=needs,
    load=load,
    small_options={"max_length": 64, "n_train": 256, "n_validation": 64, "n_test": 64},
    datasets=(
        DataSet(
            name=imdb.NAME,
            summary="IMDb Large Movie Review Dataset v1.0: 25,000 + 25,000 labelled reviews, positive or negative",
            licence="none stated; its authors ask to cite Maas et al. 2011",
            homepage="https://ai.stanford.edu/~amaas/data/sentiment/",
            files=(
                RemoteFile(
                    imdb.ARCHIVE,
                    ("https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",),
                    "md5:7c2ac02c03563afcf9b574c7e56c153a",
                ),
            ),
            inspect=imdb.inspect,
            options={"source": "official"},
        ),
    ),
)


@hookimpl
def register_tasks() -> Sequence[Task]:
    """Register the task."""
    return [TEXT]
