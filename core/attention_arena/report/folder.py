"""One study's folder, read as it was written; what cannot be read is left out with a note that names the file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from attention_arena.errors import ConfigError
from attention_arena.runs.record import SCHEMA_VERSION, CurvePoint, Record, RecordFile, StudyFile


class FoundRun(NamedTuple):
    """A run of the plan: its row of the runs table, and its record's file unless it is pending."""

    row: dict[str, Any]
    file: RecordFile | None
    curve: list[CurvePoint]


class FoundStudy(NamedTuple):
    """A profile folder's content; `notes` say what was left out."""

    study: StudyFile
    runs: list[FoundRun]
    notes: list[str]


def study_folders(path: Path) -> list[Path]:
    """Return the profile folders at or below `path`: a results folder, a study's, or a profile's own."""
    if not path.is_dir():
        raise ConfigError(f"expected a folder of results, got {path}, which {_is_instead(path)}")
    for depth in ("", "*/", "*/*/"):
        found = {each.parent for name in ("study.json", "runs") for each in path.glob(depth + name)}
        if found:
            return sorted(found)
    return []


def _is_instead(path: Path) -> str:
    return "is a file" if path.exists() else "does not exist"


def read_study(folder: Path) -> FoundStudy:
    """Read a profile folder."""
    notes: list[str] = []
    study = _read_study_file(folder, notes)
    runs = []
    for run in _run_names(folder, study, notes):
        inside = folder / "runs" / run
        file = _read_record(inside / "record.json", notes)
        row = _pending_row(inside, study, run) if file is None else file.record.model_dump()
        runs.append(FoundRun(row, file, _read_curve(inside / "curve.jsonl", notes)))
    return FoundStudy(study, runs, notes)


def _read_study_file(folder: Path, notes: list[str]) -> StudyFile:
    path = folder / "study.json"
    try:
        return StudyFile.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        notes.append(f"{path} is missing; the plan is taken to be the runs that are there")
    except ValidationError as error:
        notes.append(f"{path} cannot be read ({_first(error)}); the plan is taken to be the runs that are there")
    return StudyFile(study=folder.parent.name, profile=folder.name, question="", text="", runs=[])


def _run_names(folder: Path, study: StudyFile, notes: list[str]) -> Sequence[str]:
    """Return the planned runs; records of other runs belong to an earlier version of the study."""
    recorded = sorted(each.parent.name for each in folder.glob("runs/*/record.json"))
    if not study.runs:
        return recorded
    planned = list(dict.fromkeys(str(each["run"]) for each in study.runs))
    others = sorted(set(recorded) - set(planned))
    if others:
        notes.append(
            f"{len(others)} record(s) in {folder / 'runs'} are not of the study's present plan and are left out: "
            f"{', '.join(others[:3])}{', …' if len(others) > 3 else ''}"
        )
    return planned


def _read_record(path: Path, notes: list[str]) -> RecordFile | None:
    try:
        file = RecordFile.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        notes.append(f"{path} is damaged and left out: {_first(error)}")
        return None
    if file.record.schema_version != SCHEMA_VERSION:
        notes.append(
            f"{path} is left out: it has schema version {file.record.schema_version}, expected {SCHEMA_VERSION}"
        )
        return None
    return file


def _pending_row(inside: Path, study: StudyFile, run: str) -> dict[str, Any]:
    """Return a row for a run without a record, with as much as the plan and its spec tell."""
    planned = next((each for each in study.runs if each["run"] == run), {})
    try:
        spec = json.loads((inside / "spec.json").read_bytes())
    except (FileNotFoundError, ValueError):
        spec = {}
    told = {**spec, **planned}
    row = {name: told.get(name) for name in ("variant", "label", "baseline", "task", "seed", "task_version")}
    for name in ("task_options", "variant_options"):
        row[name] = json.dumps(told[name], sort_keys=True) if isinstance(told.get(name), dict) else None
    departures = told.get("departs_from_shape")
    damaged = (inside / "record.json").exists()
    row |= {
        "schema_version": SCHEMA_VERSION,
        "study": study.study,
        "profile": study.profile,
        "run": run,
        "attempt": 0,
        "departs_from_shape": ", ".join(departures) if departures else None,
        "status": "pending",
        "detail": "its record cannot be read" if damaged else "not run yet",
    }
    return dict.fromkeys(Record.model_fields) | row


def _read_curve(path: Path, notes: list[str]) -> list[CurvePoint]:
    """Read a curve; a last line without its end is a point still being written."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    points = {}
    damaged = 0
    for line in lines[:-1]:
        try:
            point = CurvePoint.model_validate_json(line)
        except ValidationError:
            damaged += 1
        else:
            # A later attempt's word on the same step stands.
            points[point.step, point.split, point.metric] = point
    if damaged:
        notes.append(f"{path}: {damaged} damaged line(s) left out")
    return list(points.values())


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]
