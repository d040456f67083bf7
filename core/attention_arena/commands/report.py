"""`arena report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    path: Annotated[Path, typer.Argument(help="Folder of results: of all studies, of one, or of one of its profiles.")],
    published: Annotated[
        bool, typer.Option("--published", help="Lay published numbers beside ours, in columns of their own.")
    ] = False,
) -> None:
    """Write tables and report anew from the records, also while the study is running.

    In a folder of studies each gets its report, and the folder an index of them, newest first: `report/index.html`, and
    `README.md`, or `index.md` where it has a README.md of its own.
    """
    from attention_arena.catalogue import load_catalogue
    from attention_arena.errors import ConfigError
    from attention_arena.published import load_published
    from attention_arena.report.page.report import write_report

    if not any(path.rglob("study.json")):
        raise ConfigError(f"no results in {path}: expected a folder with study.json, as `arena run` writes it")
    figures = list(load_catalogue().figures.values())
    page = write_report(path, figures, load_published() if published else None)
    typer.echo(f"report: {page}")
