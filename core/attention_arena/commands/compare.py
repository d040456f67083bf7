"""`arena compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Two or more folders of results (of all studies, of one, or of one profile)."),
    ],
    out: Annotated[Path | None, typer.Option(help="Also write index.html and compare.csv into this folder.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="List also what did not change or cannot be compared.")
    ] = False,
    fail_on_worse: Annotated[
        bool, typer.Option("--fail-on-worse", help="Exit with 1 if anything got worse, for automatic checks.")
    ] = False,
) -> None:
    """Lay results side by side: what improved, what got worse, and what is noise, each against the first folder.

    Variants are matched by label and task. Folders may be of other profiles, machines or commits; what differs is said.
    """
    from attention_arena.report.compare import compare_sides, comparison_text, read_sides, write_comparison

    sides = read_sides(paths)
    compared = compare_sides(sides)
    typer.echo(comparison_text(sides, compared, everything))
    if out is not None:
        typer.echo(f"page: {write_comparison(sides, compared, out)}", err=True)
    if fail_on_worse and any(against.got_worse for against in compared):
        raise typer.Exit(1)
