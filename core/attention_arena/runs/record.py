"""A run's record: one row of the unified result table, its measurements, and the columns of both.

On disk a study is `<results>/<study>/<profile>/` with `study.json` (StudyFile below) and `runs/<run>/`:
`spec.json`, `record.json` (RecordFile below), `curve.jsonl` (CurvePoint below, one a line), `predictions.npz`,
`arrays.npz` where a measure saved any, and `log.txt`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION = 2

Status = Literal["pending", "running", "done", "failed", "oom", "timeout", "diverged", "unsupported"]
CellStatus = Literal["done", "oom", "timeout", "unsupported", "failed"]
"""As `attention_arena.measure.CellStatus`, which a report cannot import without torch."""
VERDICTS: tuple[Status, ...] = ("done", "failed", "oom", "timeout", "diverged", "unsupported")


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Record(_Row):
    """One run; every column is always present, None where it does not apply."""

    # identity
    schema_version: int = SCHEMA_VERSION
    study: str
    profile: str
    run: str
    spec_hash: str
    attempt: int
    # what
    variant: str
    label: str
    """How tables name the variant with its options: `reformer (n_hashes=4)`."""
    baseline: bool
    variant_options: str
    """JSON, all options with their defaults."""
    plugin: str
    plugin_version: str
    task: str
    task_version: int
    task_options: str
    """JSON, all options with their defaults."""
    source: str | None
    """official, generated, stand-in or user."""
    data_hash: str | None
    length: int | None
    """Tokens in the task's longest sequence."""
    seed: int
    departs_from_shape: str | None
    """Where this run's model differs from the study's shared shape: `residual=reversible`, comma-separated."""
    matched: str | None
    """What `d_ff` was chosen for to be as the baseline's: parameters or flops; None in a study of equal shapes."""
    match_gap: float | None
    """(this run's count - the baseline's) / the baseline's, of backbone and positions, as it was planned."""
    # verdict
    status: Status
    detail: str | None
    """Reason of any status but done."""
    started_at: str | None
    """ISO 8601, UTC."""
    seconds: float | None
    """Wall time of the child process."""
    harness_seconds: float | None
    """Part of `seconds` spent on anything but training steps, evaluation passes and measures."""
    steps: int | None
    # quality: the objective's first metric on the test split
    metric: str | None
    unit: str | None
    value: float | None
    """At the step with the best validation score."""
    value_last: float | None
    """At the last step."""
    best_step: int | None
    higher_is_better: bool | None
    split: str | None
    examples: int | None
    """Test examples (or predicted tokens) behind `value`."""
    trivial_baseline: float | None
    """The best score that needs no model."""
    trivial_baseline_name: str | None
    # cost
    parameters: int | None
    flops_per_token: float | None
    step_ms: float | None
    """Median wall time of a training step, warm-up and evaluation excluded."""
    tokens_per_second: float | None
    """Training throughput at that step time."""
    peak_memory_bytes: int | None
    """Peak of the child process: resident set on a CPU, allocated memory on a GPU."""
    saved_for_backward_bytes: int | None
    """What autograd keeps for one training step, parameters apart."""
    # where
    device: str | None
    device_name: str | None
    threads: int | None
    precision: str | None
    torch_version: str | None
    arena_version: str
    commit: str | None
    dirty: bool | None
    host: str | None


class MeasurementRow(_Row):
    """A `Measurement` as stored; see `attention_arena.measure.SCHEMA`."""

    measure: str
    phase: str
    value: float | None
    unit: str
    length: int | None = None
    batch_size: int | None = None
    layer: int | None = None
    head: int | None = None
    position: int | None = None
    higher_is_better: bool | None = None
    low: float | None = None
    high: float | None = None
    samples: int = 1
    status: CellStatus = "done"
    detail: str | None = None


class RecordFile(_Row):
    """`record.json`."""

    record: Record
    measurements: list[MeasurementRow]
    trivial_baselines: dict[str, float]
    """All scores of the first metric that need no model, by name."""
    source: dict[str, str | None]
    """kind, description and licence of the data."""


class CurvePoint(_Row):
    """One line of `curve.jsonl`."""

    step: int
    seconds: float
    """Wall time since training began, evaluation included."""
    split: Literal["train", "validation", "test"]
    metric: str
    """`loss`, `learning_rate`, or a metric of the objective."""
    value: float


class Claim(_Row):
    """How attention's cost is claimed to grow with length: as length to these powers."""

    time: float
    memory: float
    at_most: bool
    """The powers are bounds."""


class StudyFile(_Row):
    """`study.json`: what was asked, for the report; rewritten by every `arena run`."""

    schema_version: int = SCHEMA_VERSION
    study: str
    question: str
    profile: str
    text: str
    """The study file as it was read."""
    runs: list[dict[str, Any]]
    """One a planned run, in the plan's order: run, task, variant, label, baseline, seed, matched, match_gap, match.

    `match` says in words how the run's budget was made the baseline's.
    """
    caveats: dict[str, dict[str, str]] = {}
    """Variant -> contract check -> why it cannot hold."""
    papers: dict[str, str] = {}
    """Variant or task -> its paper."""
    complexity: dict[str, str] = {}
    """Variant -> the paper's cost formula."""
    claims: dict[str, Claim] = {}
    """Label -> what is claimed of the variant under its options."""
    references: list[str] = []
    """Labels that are a reference for cost and no model."""
    command: str = ""
    """How to run it again."""
