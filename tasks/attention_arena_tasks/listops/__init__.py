"""Catalogue entry of ListOps (Nangia & Bowman 2018), as the Long Range Arena sets it."""

from __future__ import annotations

from collections.abc import Sequence

from attention_arena.hooks import hookimpl
from attention_arena.lra_release import lra_release
from attention_arena.task import Task
from attention_arena_tasks.listops.data import ListOpsOptions, load, needs
from attention_arena_tasks.listops.release import inspect

LISTOPS = Task(
    name="listops",
    version=1,
    summary="Compute a nested expression of MIN, MAX, MED and SUM MOD 10, 500 to 2000 symbols long: ten classes.",
    paper="Tay et al. 2020, Long Range Arena; Nangia & Bowman 2018, ListOps",
    options=ListOpsOptions,
    needs=needs,
    load=load,
    small_options={"min_length": 20, "max_length": 60, "n_train": 256, "n_validation": 64, "n_test": 64},
    datasets=(lra_release(inspect),),
)


@hookimpl
def register_tasks() -> Sequence[Task]:
    """Register the task."""
    return [LISTOPS]
