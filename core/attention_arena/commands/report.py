"""`arena report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    path: Annotated[Path, typer.Argument(help="Folder of a study's results, or of one of its profiles.")],
) -> None:
    """Write tables and report anew from the records, also while the study is running."""
    from attention_arena.catalogue import load_catalogue
    from attention_arena.errors import ConfigError
    from attention_arena.report.page import write_report

    folders = sorted({file.parent for file in path.rglob("study.json")})
    if not folders:
        raise ConfigError(f"no results in {path}: expected a folder with study.json, as `arena run` writes it")
    figures = list(load_catalogue().figures.values())
    for folder in folders:
        typer.echo(f"report: {write_report(folder, figures)}")
