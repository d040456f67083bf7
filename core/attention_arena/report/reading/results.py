"""Results as frames: what lies in a results folder, read and nothing else.

Neither torch nor a plugin is imported here, so that a report of someone else's study needs none of its plugins.
"""

from __future__ import annotations

import functools
import types
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin
from zipfile import BadZipFile

import numpy.typing as npt
import polars as pl
from pydantic import BaseModel

from attention_arena.report.reading.folder import FoundStudy, read_study, study_folders
from attention_arena.runs.arrays import load_arrays
from attention_arena.runs.record import CurvePoint, MeasurementRow, Record, StudyFile

T = TypeVar("T")
DTYPES: Mapping[type, Any] = {str: pl.String, int: pl.Int64, float: pl.Float64, bool: pl.Boolean}
RUN_KEYS = ("study", "profile", "run", "variant", "label", "task", "task_options", "seed")
TASK_KEYS = ("study", "profile", "task", "task_options")


def _dtype(annotation: Any) -> Any:
    """Return the column type of a field, None set aside."""
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    if get_origin(annotation) is Literal:
        return pl.String
    return DTYPES[annotation]


def _columns(model: type[BaseModel]) -> dict[str, Any]:
    return {name: _dtype(info.annotation) for name, info in model.model_fields.items()}


RUN_COLUMNS = _columns(Record)
MEASUREMENT_COLUMNS = {key: RUN_COLUMNS[key] for key in RUN_KEYS} | _columns(MeasurementRow)
CURVE_COLUMNS = {key: RUN_COLUMNS[key] for key in RUN_KEYS} | _columns(CurvePoint)
BASELINE_COLUMNS = {key: RUN_COLUMNS[key] for key in TASK_KEYS} | {"name": pl.String, "value": pl.Float64}
SOURCE_COLUMNS = dict.fromkeys((*TASK_KEYS, "kind", "description", "licence"), pl.String)


class Note(NamedTuple):
    """What was found but left out, and why."""

    study: str
    profile: str
    text: str


@dataclass(frozen=True)
class Results:
    """What studies came to; every frame always has all its columns, whatever was measured."""

    runs: pl.DataFrame
    """One row a run, in the plan's order; a planned run without a record is `pending`."""
    measurements: pl.DataFrame
    """The run's names and one `MeasurementRow`."""
    curves: pl.DataFrame
    """The run's names and one `CurvePoint`."""
    baselines: pl.DataFrame
    """Scores that need no model, one row a task and name."""
    sources: pl.DataFrame
    """Where a task's data came from, one row a task."""
    studies: list[StudyFile]
    notes: list[Note]
    folders: Mapping[tuple[str, str], Path] = field(default_factory=dict)
    """(study, profile) -> its folder, for what is read only on demand."""
    derived: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What functions decorated with `once` have returned."""

    def arrays(self, study: str, profile: str, run: str) -> dict[str, npt.NDArray[Any]]:
        """Read what a run saved beside its record, by name; nothing, with a warning, where that is damaged."""
        folder = self.folders.get((study, profile))
        if folder is None:
            return {}
        try:
            return load_arrays(folder / "runs" / run)
        except (ValueError, BadZipFile, OSError) as error:
            warnings.warn(f"the arrays of {run} are damaged and left out: {error}", stacklevel=2)
            return {}

    def of(self, study: StudyFile) -> Results:
        """Return the part that belongs to one study and profile, the same each time, so that `once` holds for it."""
        if self.studies == [study]:
            return self
        key = (Results.of, study.study, study.profile)
        if key not in self.derived:
            self.derived[key] = self._part(study)
        part: Results = self.derived[key]
        return part

    def _part(self, study: StudyFile) -> Results:
        mine = (pl.col("study") == study.study) & (pl.col("profile") == study.profile)
        return replace(
            self,
            runs=self.runs.filter(mine),
            measurements=self.measurements.filter(mine),
            curves=self.curves.filter(mine),
            baselines=self.baselines.filter(mine),
            sources=self.sources.filter(mine),
            studies=[study],
            notes=[note for note in self.notes if note[:2] == (study.study, study.profile)],
        )


def once(derive: Callable[[Results], T]) -> Callable[[Results], T]:
    """Decorate what derives something from results so that each `Results` is asked once.

    Results do not change, and each table and figure asks anew. What is returned must not be changed either.
    """

    @functools.wraps(derive)
    def known(results: Results) -> T:
        if derive not in results.derived:
            results.derived[derive] = derive(results)
        found: T = results.derived[derive]
        return found

    return known


def load_results(path: str | Path) -> Results:
    """Read a results folder with many studies, one study's folder, or one profile's folder.

    A file that cannot be read is left out with a warning that names it. Raises ConfigError where `path` is no folder.
    """
    found = [read_study(folder) for folder in study_folders(Path(path))]
    notes = [Note(each.study.study, each.study.profile, text) for each in found for text in each.notes]
    for note in notes:
        warnings.warn(note.text, stacklevel=2)
    return Results(
        runs=_frame(RUN_COLUMNS, found, _run_rows),
        measurements=_frame(MEASUREMENT_COLUMNS, found, _measurement_rows),
        curves=_frame(CURVE_COLUMNS, found, _curve_rows),
        baselines=_frame(BASELINE_COLUMNS, found, _baseline_rows).unique([*TASK_KEYS, "name"], maintain_order=True),
        sources=_frame(SOURCE_COLUMNS, found, _source_rows).unique(TASK_KEYS, maintain_order=True),
        studies=[each.study for each in found],
        notes=notes,
        folders={(each.study.study, each.study.profile): each.folder for each in found},
    )


def _frame(columns: Mapping[str, Any], found: Iterable[FoundStudy], rows: Any) -> pl.DataFrame:
    return pl.DataFrame([row for each in found for row in rows(each)], columns)


def _run_rows(found: FoundStudy) -> Iterable[dict[str, Any]]:
    return (run.row for run in found.runs)


def _measurement_rows(found: FoundStudy) -> Iterable[dict[str, Any]]:
    for run in found.runs:
        named = _named(run.row, RUN_KEYS)
        for each in run.file.measurements if run.file else ():
            # As `model_dump`, which takes longer, does for rows without models in them.
            yield named | vars(each)


def _curve_rows(found: FoundStudy) -> Iterable[dict[str, Any]]:
    for run in found.runs:
        named = _named(run.row, RUN_KEYS)
        for each in run.curve:
            yield named | vars(each)


def _baseline_rows(found: FoundStudy) -> Iterable[dict[str, Any]]:
    for run in found.runs:
        for name, value in run.file.trivial_baselines.items() if run.file else ():
            yield _named(run.row, TASK_KEYS) | {"name": name, "value": value}


def _source_rows(found: FoundStudy) -> Iterable[dict[str, Any]]:
    for run in found.runs:
        if run.file and run.file.source:
            told = {key: run.file.source.get(key) for key in ("kind", "description", "licence")}
            yield _named(run.row, TASK_KEYS) | told


def _named(row: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: row[key] for key in keys}
