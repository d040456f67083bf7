"""`arena run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    study: Annotated[str, typer.Argument(help="A study file, or the name of a shipped study (`arena list studies`).")],
    profile: Annotated[str | None, typer.Option(help="Profile of the study; its own default if absent.")] = None,
    results: Annotated[Path, typer.Option(help="Folder that results are written to.")] = Path("results"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    workers: Annotated[int, typer.Option(min=1, help="Runs at a time; they share the machine's threads.")] = 1,
    executor: Annotated[str, typer.Option(help="Where runs are executed (`arena list executors`).")] = "local",
    only: Annotated[
        list[str] | None,
        typer.Option(help="Only runs whose task, variant, label or name matches; repeatable, * and ? allowed."),
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Do failed, oom, timeout and diverged runs again.")] = False,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="Rewrite the page as runs finish, at most every 30 s. It takes processor time from runs being timed.",
        ),
    ] = False,
) -> None:
    """Run a study and write its tables and report.

    The study file says what is compared; these options only say where, and change no result. Runs that are done are
    kept, so the same command continues a study that was stopped. Exit code 0 when every run has a verdict other than
    failed, 1 when one failed, 2 when the study or an option is wrong and nothing was started.
    """
    from attention_arena.api import run_study

    try:
        summary = run_study(
            study,
            profile=profile,
            results=results,
            device=device,
            workers=workers,
            executor=executor,
            only=only or [],
            retry=retry,
            live=live,
        )
    except KeyboardInterrupt:
        typer.echo("stopped; nothing that was finished is lost, the same command goes on from here", err=True)
        raise typer.Exit(130) from None
    counts: dict[str, int] = {}
    for file in summary.records.values():
        counts[file.record.status] = counts.get(file.record.status, 0) + 1
    words = ", ".join(f"{count} {status}" for status, count in counts.items())
    if summary.executed == 0:
        typer.echo(f"nothing to do: all {len(summary.records)} runs have their verdict ({words})")
    else:
        typer.echo(f"{len(summary.records)} runs: {words}")
        _say_harness([file.record for file in summary.records.values()])
    for run_name in summary.failed:
        typer.echo(f"failed: {run_name}: {summary.records[run_name].record.detail}", err=True)
        typer.echo(f"        log: {summary.folder / 'runs' / run_name / 'log.txt'}", err=True)
    typer.echo(f"results: {summary.folder}")
    typer.echo(f"report:  {summary.report}")
    if summary.failed:
        raise typer.Exit(1)


def _say_harness(records: list[object]) -> None:
    timed = [record for record in records if getattr(record, "harness_seconds", None) is not None]
    total = sum(getattr(record, "seconds", 0.0) for record in timed)
    if total:
        harness = sum(getattr(record, "harness_seconds", 0.0) for record in timed)
        typer.echo(f"runs took {total:.0f} s, of which {harness / total:.1%} was start-up, data and bookkeeping")
