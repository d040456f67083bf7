"""From a spec and what became of its child to the record: the runner's word, not the child's."""

from __future__ import annotations

import json
import signal
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from attention_arena.runs.outcome import OUTCOME_FILE, Outcome
from attention_arena.runs.provenance import Provenance
from attention_arena.runs.record import Record, RecordFile, Status
from attention_arena.runs.spec import RunSpec


def read_outcome(folder: Path) -> Outcome | None:
    """Return what the child left, or None where it left nothing whole."""
    try:
        return Outcome.model_validate_json((folder / OUTCOME_FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def judge(exit_status: int, outcome: Outcome | None, log: Path) -> tuple[Status, str | None]:
    """Return the verdict on a child that ended by itself."""
    if exit_status == 0 and outcome is not None:
        return outcome.status, outcome.detail
    if exit_status == -signal.SIGKILL:
        return "oom", "killed by the system (signal 9), which most often means that memory ran out"
    if exit_status < 0:
        return "failed", f"ended by signal {-exit_status} ({signal.Signals(-exit_status).name}); {_last_line(log)}"
    return "failed", f"ended with exit status {exit_status} and no outcome; {_last_line(log)}"


def make_record(
    spec: RunSpec,
    study: tuple[str, str],
    where: Provenance,
    *,
    status: Status,
    detail: str | None,
    outcome: Outcome | None = None,
    attempt: int = 0,
    started_at: datetime | None = None,
    seconds: float | None = None,
) -> RecordFile:
    """Put a record together; `study` is the study's name and profile."""
    told = outcome or Outcome(status="failed")
    baselines = told.trivial_baselines
    best = None
    if baselines:
        best = (max if told.higher_is_better else min)(baselines, key=lambda name: baselines[name])
    record = Record(
        study=study[0],
        profile=study[1],
        run=spec.run,
        spec_hash=spec.spec_hash,
        attempt=attempt,
        variant=spec.variant,
        label=spec.label,
        baseline=spec.baseline,
        variant_options=json.dumps(spec.variant_options, sort_keys=True),
        plugin=spec.plugin,
        plugin_version=spec.plugin_version,
        task=spec.task,
        task_version=spec.task_version,
        task_options=json.dumps(spec.task_options, sort_keys=True),
        source=told.source.get("kind"),
        data_hash=spec.data_hash,
        seed=spec.seed,
        departs_from_shape=", ".join(spec.departs_from_shape) or None,
        matched=spec.match.what if spec.match else None,
        match_gap=spec.match.gap if spec.match else None,
        status=status,
        detail=detail,
        started_at=started_at.isoformat(timespec="seconds") if started_at else None,
        seconds=seconds,
        harness_seconds=max(seconds - told.working_seconds, 0.0) if seconds is not None and outcome else None,
        split="test" if told.value is not None else None,
        trivial_baseline=baselines[best] if best else None,
        trivial_baseline_name=best,
        precision=spec.training["precision"],
        **where._asdict(),
        **told.model_dump(
            exclude={"status", "detail", "measurements", "trivial_baselines", "source", "working_seconds"}
        ),
    )
    return RecordFile(record=record, measurements=told.measurements, trivial_baselines=baselines, source=told.source)


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return f"its log ends: {lines[-1][:300]}" if lines else "its log is empty"
