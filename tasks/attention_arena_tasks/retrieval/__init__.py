"""Catalogue entry of document retrieval, as the Long Range Arena sets it: do two documents belong together?"""

from __future__ import annotations

from collections.abc import Sequence

from attention_arena.hooks import hookimpl
from attention_arena.lra_release import lra_release
from attention_arena.task import Task
from attention_arena_tasks.retrieval import aan
from attention_arena_tasks.retrieval.data import RetrievalOptions, load, needs

RETRIEVAL = Task(
    name="retrieval",
    version=1,
    summary="Say whether two texts of up to 4000 bytes belong together: citing papers, or a stand-in; two classes.",
    paper="Tay et al. 2020, Long Range Arena; Radev et al. 2013, The ACL Anthology Network Corpus",
    options=RetrievalOptions,
    needs=needs,
    load=load,
    small_options={"max_length": 64, "n_train": 256, "n_validation": 64, "n_test": 64},
    datasets=(lra_release(aan.inspect),),
)


@hookimpl
def register_tasks() -> Sequence[Task]:
    """Register the task."""
    return [RETRIEVAL]
