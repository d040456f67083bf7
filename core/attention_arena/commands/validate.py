"""`arena validate`."""

from __future__ import annotations

from typing import Annotated

import typer


def validate(
    study: Annotated[str | None, typer.Argument(help="A study file, or the name of a shipped study.")] = None,
    profile: Annotated[str | None, typer.Option(help="Profile of the study; its own default if absent.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the study file's JSON schema for editors.")] = False,
) -> None:
    """Check a study and show its plan, without preparing data or running anything.

    All problems are listed at once, each with its line, key, value and what was expected. Exit code 2 if there are any.
    """
    if schema:
        import json

        from attention_arena.study import study_json_schema

        typer.echo(json.dumps(study_json_schema(), indent=2))
        return
    if study is None:
        raise typer.BadParameter("name a study file or a shipped study, or ask for --schema")
    from attention_arena.study import describe, find_study, load_study

    typer.echo(describe(load_study(find_study(study), profile)))
