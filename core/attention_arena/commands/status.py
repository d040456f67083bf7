"""`arena status`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def status(
    path: Annotated[Path, typer.Argument(help="Folder of results, of a study's, or of one of its profiles.")] = Path(
        "results"
    ),
) -> None:
    """Show how far studies have come, run by run."""
    from attention_arena.errors import ConfigError
    from attention_arena.runs.outcome import PROGRESS_FILE
    from attention_arena.runs.progress import describe
    from attention_arena.runs.record import StudyFile
    from attention_arena.runs.store import Store

    files = sorted(path.rglob("study.json"))
    if not files:
        raise ConfigError(f"no results in {path}: expected a folder with study.json, as `arena run` writes it")
    for file in files:
        study = StudyFile.model_validate_json(file.read_bytes())
        store = Store(file.parent)
        lines = []
        done = 0
        for planned in study.runs:
            run = planned["run"]
            try:
                record = store.read(run)
            except ValueError:
                lines.append(f"{run}  record.json is damaged; `arena run` does the run again")
                continue
            if record is not None:
                done += 1
                lines.append(describe(record))
            elif store.is_claimed(run):
                progress = store.run_folder(run) / PROGRESS_FILE
                step = progress.read_text().replace(" ", " of ") if progress.exists() else "0"
                lines.append(f"{run}  running  step {step}")
            else:
                lines.append(f"{run}  pending")
        typer.echo(f"{study.study} ({study.profile}): {done} of {len(study.runs)} runs have their verdict")
        for line in lines:
            typer.echo(f"  {line}")
