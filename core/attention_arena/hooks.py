"""The hooks through which everything is found, built-in or not.

A plugin is a module (or object) named by an entry point of the group `attention_arena`, with any of these functions
marked `@hookimpl`. They take no arguments and return what they register, so a plugin is tested by calling it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from attention_arena.measure import Measure
    from attention_arena.task import Task
    from attention_arena.variant import Variant

GROUP = "attention_arena"
PLUGIN_API = 1
"""Version of this interface; a plugin may state the one it was built for as its own `PLUGIN_API`."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class Hooks:
    """The hook specifications."""

    @hookspec
    def register_variants(self) -> Sequence[Variant]:  # type: ignore[empty-body]
        """Return attention variants."""

    @hookspec
    def register_tasks(self) -> Sequence[Task]:  # type: ignore[empty-body]
        """Return tasks."""

    @hookspec
    def register_measures(self) -> Sequence[Measure]:  # type: ignore[empty-body]
        """Return measures."""

    @hookspec
    def register_figures(self) -> Sequence[Any]:  # type: ignore[empty-body]
        """Return figures for the report (`attention_arena.report.figures.Figure`)."""

    @hookspec
    def register_executors(self) -> Sequence[Any]:  # type: ignore[empty-body]
        """Return executors, which decide where runs are executed (`attention_arena.runs.executors.Executor`)."""
