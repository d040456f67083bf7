"""Catalogue entries of Pathfinder and Path-X (Linsley et al. 2018), as the Long Range Arena sets them."""

from __future__ import annotations

from collections.abc import Sequence

from attention_arena.hooks import hookimpl
from attention_arena.lra_release import lra_release
from attention_arena.task import Task
from attention_arena_tasks.pathfinder.data import PathfinderOptions, PathXOptions, load, needs
from attention_arena_tasks.pathfinder.inspection import inspect, inspect_path_x

PAPER = "Tay et al. 2020, Long Range Arena; Linsley et al. 2018, horizontal gated recurrent units (Pathfinder)"


PATHFINDER = Task(
    name="pathfinder",
    version=2,
    summary="Do two markers lie on one dashed path? An image of 32 x 32 read pixel by pixel, 1024 of them.",
    paper=PAPER,
    options=PathfinderOptions,
    needs=needs,
    load=load,
    small_options={"difficulty": "curv_baseline", "n_train": 256, "n_validation": 64, "n_test": 64},
    datasets=(lra_release(inspect),),
)

PATH_X = Task(
    name="path_x",
    version=2,
    summary="Do two markers lie on one dashed path? An image of 128 x 128 read pixel by pixel, 16,384 of them.",
    paper=PAPER,
    options=PathXOptions,
    needs=needs,
    load=load,
    small_options={"difficulty": "curv_baseline", "n_train": 32, "n_validation": 16, "n_test": 16},
    datasets=(lra_release(inspect_path_x),),
)


@hookimpl
def register_tasks() -> Sequence[Task]:
    """Register the tasks."""
    return [PATHFINDER, PATH_X]
