"""`arena data`: what data there are, fetching the official ones, preparing, and checking what somebody else fetched."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from attention_arena.catalogue import Catalogue
    from attention_arena.datasets import DataSet, RemoteFile
    from attention_arena.task import Task, TaskData
    from attention_arena.variant import Options

WIDTH = 100
"""Columns of a terminal that lines should fit."""

app = typer.Typer(no_args_is_help=True, help="List, fetch, prepare and check data.")


@app.command("list")
def list_data() -> None:
    """List the official data sets of every installed task, and what is prepared in the cache."""
    from attention_arena.catalogue import load_catalogue
    from attention_arena.datasets import files_of
    from attention_arena.prepared import data_folder

    catalogue, folder = load_catalogue(), data_folder()
    typer.echo(f"data folder: {folder} (ARENA_DATA names another)\n")
    data_sets = catalogue.data_sets()
    typer.echo("official data sets, which `arena data get NAME` fetches:" if data_sets else "no official data sets")
    for name, declared in data_sets.items():
        files = files_of(name, declared)
        about = list(declared.values())
        rows = [
            ("about", "; ".join(_distinct(each.summary for each in about))),
            ("tasks", ", ".join(f"{task}{_options(each)}" for task, each in declared.items())),
            ("where", _where(name, files, folder)),
            *(("file", _file(file)) for file in files),
            ("licence", "; ".join(_distinct(each.licence for each in about))),
            ("homepage", " ".join(_distinct(each.homepage for each in about))),
        ]
        typer.echo(f"  {name}")
        _show(rows)
    prepared = list(_prepared(folder))
    typer.echo("\nprepared data:" if prepared else "\nnothing is prepared yet; `arena data prepare TASK` does it now")
    width = max((len(place) for place, _ in prepared), default=0)
    for place, size in prepared:
        typer.echo(f"  {place:<{width}}  {size:>9}")
    for problem in catalogue.problems:
        typer.echo(f"problem: {problem}", err=True)


@app.command()
def get(names: Annotated[list[str], typer.Argument(help="Data sets, as `arena data list` names them.")]) -> None:
    """Fetch official data sets into the data folder, each file checked against its published checksum.

    A download that was broken off goes on where it was. Exit code 2, with the reason for each address, when a file
    cannot be had; what was fetched stays.
    """
    from attention_arena.catalogue import load_catalogue
    from attention_arena.datasets import checksum_of, files_of, place_of
    from attention_arena.errors import ConfigError, TaskError
    from attention_arena.fetching import fetch
    from attention_arena.prepared import data_folder

    catalogue = load_catalogue()
    chosen = {name: catalogue.data_set(name) for name in names}
    failures = []
    for name, declared in chosen.items():
        try:
            for file in files_of(name, declared):
                path = fetch(file, place_of(name, data_folder()), lambda line: typer.echo(line, err=True))
                found = file.checksum or f"{checksum_of(path)}, and no checksum is published to hold it against"
                typer.echo(f"{name}: {path}\n    {_size(path.stat().st_size)}, {found}")
        except TaskError as error:
            failures.append(f"{name}: {error}")
        except KeyboardInterrupt:
            typer.echo("stopped; the same command goes on from here", err=True)
            raise typer.Exit(130) from None
    if failures:
        raise ConfigError("\n".join(failures))


@app.command()
def prepare(
    what: Annotated[str, typer.Argument(metavar="TASK|STUDY", help="A task, or a study file or shipped study.")],
    option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="An option of the task, as in a study; repeatable.")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="Profile of the study; its own default if absent.")] = None,
) -> None:
    """Generate or read a task's data now, or those of all tasks of a study, and say what they are."""
    from attention_arena.errors import ConfigError
    from attention_arena.prepared import data_folder
    from attention_arena.task import TaskError

    for task, options in _chosen(what, option or [], profile):
        try:
            data = task.load(options, data_folder())
        except TaskError as error:
            raise ConfigError(f"task {task.name}: {error}") from error
        given = (f"{key}={value}" for key, value in options.model_dump(mode="json", exclude_unset=True).items())
        typer.echo(" ".join([task.name, *given]))
        _show(_about(data))


@app.command()
def verify(
    name: Annotated[str, typer.Argument(help="The data set, as `arena data list` names it.")],
    path: Annotated[Path | None, typer.Argument(help="Folder or archive; where `get` keeps it if absent.")] = None,
) -> None:
    """Check a folder or archive of an official data set: which layout it has, counts, what is missing or damaged.

    Exit code 0 when it is complete, 1 when tasks can use it but it is not the official release, 2 when they cannot.
    """
    from attention_arena.catalogue import load_catalogue
    from attention_arena.datasets import files_of, locate
    from attention_arena.errors import ConfigError, TaskError
    from attention_arena.prepared import data_folder

    declared = load_catalogue().data_set(name)
    try:
        found, files = locate(name, path, data_folder()), files_of(name, declared)
    except TaskError as error:
        raise ConfigError(str(error)) from error
    typer.echo(f"{name} at {found}")
    faults = []
    for line, is_fault in _checksums(found, files):
        _show([("checksum", line)])
        faults += [line] if is_fault else []
    inspections = {task: data_set.inspect(found) for task, data_set in declared.items()}
    for task, inspection in inspections.items():
        counts = ", ".join(f"{part} {count:,}" for part, count in inspection.counts.items())
        rows = [("layout", inspection.layout or "none that is known"), ("counts", counts or "none")]
        typer.echo(f"  for task {task}:")
        _show([*rows, *(("problem", problem) for problem in inspection.problems)])
    complete = not faults and all(each.complete for each in inspections.values())
    usable = any(each.usable for each in inspections.values())
    verdict = ("complete", "usable, but not the official release", "not usable")
    code = 0 if complete else 1 if usable else 2
    typer.echo(f"{name} is {verdict[code]}")
    raise typer.Exit(code)


def _chosen(what: str, given: list[str], profile: str | None) -> list[tuple[Task, Options]]:
    """Return the tasks to prepare, each with its options."""
    from attention_arena.catalogue import load_catalogue
    from attention_arena.errors import ConfigError
    from attention_arena.study import find_study, load_study

    catalogue = load_catalogue()
    if what in catalogue.tasks:
        if profile is not None:
            raise ConfigError(f"--profile is for a study, and {what} is a task")
        return [_task_with_options(what, given, catalogue)]
    try:
        study = find_study(what)
    except ConfigError as no_study:
        try:
            catalogue.task(what)
        except ConfigError as no_task:
            raise ConfigError(f"{no_task}\n{no_study}") from no_study
        raise
    if given:
        raise ConfigError(f"--option is for a task, and {what} is a study, which sets options itself")
    runs = load_study(study, profile, catalogue).runs
    tasks = {(run.task.name, run.task_options.model_dump_json()): (run.task, run.task_options) for run in runs}
    return list(tasks.values())


def _task_with_options(name: str, given: list[str], catalogue: Catalogue) -> tuple[Task, Options]:
    """Return the task with options as a study file's loader reads and checks them, or raise ConfigError."""
    import json
    from dataclasses import replace

    from attention_arena.errors import ConfigError
    from attention_arena.study.expand import choose_tasks
    from attention_arena.study.problems import StudyError
    from attention_arena.study.validation import Problems
    from attention_arena.study.yaml_lines import Found, read_yaml

    place = Path("--option")
    values: dict[str, Found] = {}
    for text in given:
        key, equals, value = text.partition("=")
        read = read_yaml(f"{json.dumps(key)}: {value}", place).items() if key and equals else []
        if [each for each, _ in read] != [key]:
            raise ConfigError(f"--option must be KEY=VALUE, got {text!r}")
        if key in values:
            raise ConfigError(f"--option {key} stands twice")
        values |= read
    entry = Found({"name": Found(name, 1, ""), "options": Found(values, 1, "")}, 1, "")
    problems = Problems(place)
    chosen = choose_tasks(Found({"tasks": Found([entry], 1, "")}, 1, ""), catalogue, problems)
    if problems.errors:
        raise StudyError([replace(problem, line=None) for problem in problems.errors])
    return chosen[0].task, chosen[0].options


def _about(data: TaskData) -> Iterator[tuple[str, str]]:
    """Yield what is known of prepared data, row by row."""
    import numpy as np

    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    arrays = [each for split in splits.values() for each in vars(split).values() if isinstance(each, np.memmap)]
    folders = _distinct(str(Path(each.filename).parent) for each in arrays if each.filename)
    yield "source", f"{data.source.kind}: {data.source.description}"
    yield "licence", data.source.licence or "none stated"
    yield "where", " ".join(folders) or "its splits name no files"
    for name, split in splits.items():
        yield name, f"{split.n_examples:>11,}  sha256 {split.content_hash}"
    yield "data hash", data.data_hash
    metric = data.objective.metrics[0]
    for name, value in data.trivial_baselines.items():
        yield "baseline", f"{name}: {metric.name} {value:.4g} {metric.unit} on test"


def _where(name: str, files: tuple[RemoteFile, ...], folder: Path) -> str:
    """Return whether the files are there, by their names and sizes."""
    from attention_arena.datasets import place_of

    place = place_of(name, folder)
    there = [path.name for path in place.iterdir() if not path.name.startswith(".")] if place.is_dir() else []
    missing = [file.name for file in files if file.name not in there]
    if not there:
        return "not fetched" if any(file.urls for file in files) else f"not offered for download; put it into {place}"
    if not missing:
        wrong = [f.name for f in files if f.size is not None and (place / f.name).stat().st_size != f.size]
        return f"present at {place}" + (f", but {', '.join(wrong)} has another size: damaged" if wrong else "")
    if len(missing) < len(files):
        return f"{len(files) - len(missing)} of {len(files)} files at {place}; missing: {', '.join(missing)}"
    return f"present at {place}, put there by hand; `arena data verify {name}` checks it"


def _checksums(found: Path, files: tuple[RemoteFile, ...]) -> Iterator[tuple[str, bool]]:
    """Yield what the checksums of published files say that lie at `found`, and whether one is wrong."""
    from attention_arena.datasets import checksum_fault, checksum_of

    by_name = {file.name: file for file in files}
    if found.is_file():
        lying = [(found, by_name.get(found.name) or (files[0] if len(files) == 1 else None))]
    else:
        lying = [(found / file.name, file) for file in files if (found / file.name).is_file()]
    for path, file in lying:
        if file is None:
            continue
        fault = checksum_fault(path, file)
        if fault is not None:
            yield fault, True
        elif file.checksum is None:
            yield f"none is published; {path.name} is {checksum_of(path)}", False
        else:
            yield f"{path.name} is {file.checksum}, as published", False


def _prepared(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield each folder of prepared data, relative to the data folder, and its size."""
    import json

    from attention_arena.prepared import MANIFEST

    for manifest in sorted(folder.glob(f"*/*/{MANIFEST}")):
        try:
            size = _size(sum(entry["bytes"] for entry in json.loads(manifest.read_text()).values()))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            size = "damaged"
        if not manifest.parent.name.startswith("."):
            yield manifest.parent.relative_to(folder).as_posix(), size


def _file(file: RemoteFile) -> str:
    size = "size not published" if file.size is None else _size(file.size)
    return f"{file.name}, {size}, {file.checksum or 'no checksum published'}"


def _options(data_set: DataSet) -> str:
    given = ", ".join(f"{key}: {value}" for key, value in data_set.options.items())
    return f" ({given})" if given else ""


def _size(n_bytes: int) -> str:
    from attention_arena.report.wording.numbers import size

    return size(n_bytes)


def _distinct(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))


def _show(rows: Iterable[tuple[str, str]]) -> None:
    """Print rows as a column of keys and one of values, wrapped at words."""
    for key, value in rows:
        typer.echo(
            textwrap.fill(
                value,
                WIDTH,
                initial_indent=f"    {key:<10} ",
                subsequent_indent=" " * 15,
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
