"""One study's folder, read as it was written; what cannot be read is left out with a note that names the file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from attention_arena.errors import ConfigError
from attention_arena.runs.record import SCHEMA_VERSION, CurvePoint, Record, RecordFile, StudyFile

CURVE = TypeAdapter(list[CurvePoint])


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
    folder: Path


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
        row |= _as_planned(study, run)
        runs.append(FoundRun(row, file, _read_curve(inside / "curve.jsonl", notes)))
    return FoundStudy(study, runs, notes, folder)


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


def _as_planned(study: StudyFile, run: str) -> dict[str, Any]:
    """Return what the present plan says of a run that may have been done under another one, by the same numbers."""
    planned = next((each for each in study.runs if each["run"] == run), {})
    return {name: planned[name] for name in ("matched", "match_gap") if name in planned}


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
    running = _is_claimed(inside)
    row |= {
        "schema_version": SCHEMA_VERSION,
        "study": study.study,
        "profile": study.profile,
        "run": run,
        "attempt": 0,
        "departs_from_shape": ", ".join(departures) if departures else None,
        "status": "running" if running else "pending",
        "detail": "running" if running else "its record cannot be read" if damaged else "not run yet",
    }
    return dict.fromkeys(Record.model_fields) | row


def _is_claimed(inside: Path) -> bool:
    """Whether a living process holds the run; a folder that may only be read is at rest, as far as one can tell."""
    lock = inside / "claim.lock"
    try:
        if lock.exists():
            FileLock(lock, timeout=0).acquire().lock.release()
    except Timeout:
        return True
    except OSError:
        pass
    return False


def _read_curve(path: Path, notes: list[str]) -> list[CurvePoint]:
    """Read a curve; a last line without its end is a point still being written."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    points = _points(lines[:-1])
    if len(points) < len(lines) - 1:
        notes.append(f"{path}: {len(lines) - 1 - len(points)} damaged line(s) left out")
    # A later attempt's word on the same step stands.
    return list({(point.step, point.split, point.metric): point for point in points}.values())


def _points(lines: Sequence[bytes]) -> list[CurvePoint]:
    """Return the points of the lines that are whole: all at once, and one by one only where some are not."""
    try:
        return CURVE.validate_json(b"[" + b",".join(lines) + b"]")
    except ValidationError:
        if len(lines) == 1:
            return []
    return [point for line in lines for point in _points([line])]


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]
