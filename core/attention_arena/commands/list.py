"""`arena list`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Kind(StrEnum):
    """What can be listed."""

    all = "all"
    variants = "variants"
    tasks = "tasks"
    measures = "measures"
    figures = "figures"
    executors = "executors"
    studies = "studies"


def list_entries(
    kind: Annotated[Kind, typer.Argument(help="What to list.")] = Kind.all,
    options: Annotated[bool, typer.Option("--options", help="Show the options of each entry with defaults.")] = False,
) -> None:
    """List what is installed: variants, tasks, measures, figures, executors, and the studies that are shipped.

    A plugin that could not be loaded is named with its reason; everything else stays usable.
    """
    from attention_arena.catalogue import load_catalogue
    from attention_arena.study import shipped_studies

    catalogue = load_catalogue()
    for one, entries in catalogue.entries().items():
        if kind.value in ("all", f"{one}s"):
            typer.echo(f"{one}s:")
            for entry_name, entry in entries.items():
                plugin = catalogue.plugin_of(one, entry_name)
                summary = getattr(entry, "summary", None) or getattr(entry, "title", "")
                typer.echo(f"  {entry_name:<24} {summary}  [{plugin.distribution} {plugin.version}]")
                if options and hasattr(entry, "options"):
                    _show_options(entry.options)
    if kind.value in ("all", "studies"):
        typer.echo("studies:")
        for study_name, path in shipped_studies().items():
            typer.echo(f"  {study_name:<24} {path}")
    for problem in catalogue.problems:
        typer.echo(f"problem: {problem}", err=True)


def _show_options(model: type) -> None:
    for name, field in model.model_fields.items():  # type: ignore[attr-defined]
        note = f"  {field.description}" if field.description else ""
        typer.echo(f"      {name} = {field.default!r}{note}")
