"""attention-arena: compare efficient attention variants fairly."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from attention_arena.errors import ConfigError
from attention_arena.hooks import PLUGIN_API, hookimpl

if TYPE_CHECKING:
    from attention_arena.api import Summary, run_study
    from attention_arena.layer import build_attention
    from attention_arena.report.tables.frames import Results, load_results

__all__ = [
    "PLUGIN_API",
    "ConfigError",
    "Results",
    "Summary",
    "build_attention",
    "hookimpl",
    "load_results",
    "run_study",
]

# Imported at first use, so that the command line starts without torch and a worker without polars.
_HOMES = {
    "Results": "attention_arena.report.tables.frames",
    "load_results": "attention_arena.report.tables.frames",
    "Summary": "attention_arena.api",
    "build_attention": "attention_arena.layer",
    "run_study": "attention_arena.api",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
