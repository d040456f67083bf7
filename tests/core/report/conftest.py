"""Results folders as a runner would leave them, made of the same models."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy
import pytest

from attention_arena.report.figures import register_figures
from attention_arena.report.page.report import write_report
from attention_arena.runs.record import CurvePoint, MeasurementRow, Record, RecordFile, StudyFile
from tests.core.report.fake_predictions import UNTRAINED, predictions, score_of, time_ratio_rows
from tests.core.report.language_model_rows import language_model_rows


class FakeVariant(NamedTuple):
    name: str
    label: str
    skill: float
    speed: float
    exponent: float
    departs: str | None = None


class FakeTask(NamedTuple):
    name: str
    source: str
    metric: str
    unit: str
    higher: bool
    trivial: Mapping[str, float]
    score: Callable[[float], float]
    length: int
    options: Mapping[str, Any] = {}


SOFTMAX = FakeVariant("softmax", "softmax", 0.55, 40_000, 2.0)
TRANSFORMER_XL = FakeVariant("transformer_xl", "transformer_xl (memory_length=64)", 0.62, 31_000, 1.1)
REFORMER = FakeVariant(
    "reformer", "reformer (n_hashes=4)", 0.5, 22_000, 1.15, "residual=reversible, feed_forward_chunks=4"
)
VARIANTS = (SOFTMAX, TRANSFORMER_XL, REFORMER)
LISTOPS = FakeTask(
    "listops",
    "generated",
    "accuracy",
    "%",
    True,
    {"majority class": 17.0, "first operator": 36.3, "first operator and its digits": 48.6},
    lambda skill: 100 * skill * 0.8,
    2000,
    {"max_length": 2000},
)
LANGUAGE_MODEL = FakeTask(
    "language_model",
    "stand-in",
    "bits_per_byte",
    "bits",
    False,
    {"byte frequencies": 4.61},
    lambda skill: 3.4 - 2 * skill,
    512,
    {"segment": 512},
)
HOSTILE = "re<script>alert(1)</script>former | & $x$ \\ `Σ–é` *b* _i_ \"q\" 'a'"


@dataclass
class FakeStudy:
    """What to write; `verdicts` maps (label, task, seed) to a status and its detail, done where absent."""

    name: str = "synthetic"
    profile: str = "laptop"
    question: str = "Which attention keeps its score when the sequence grows, and at what cost?"
    variants: Sequence[FakeVariant] = VARIANTS
    tasks: Sequence[FakeTask] = (LISTOPS, LANGUAGE_MODEL)
    seeds: Sequence[int] = (0, 1)
    verdicts: Mapping[tuple[str, str, int], tuple[str, str | None]] = field(default_factory=dict)
    caveats: Mapping[str, dict[str, str]] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Columns to overwrite in every record that is done."""
    curve_points: int = 12
    measure: bool = True
    perplexity: bool = False
    """Whether the language model's runs measured perplexity by protocol, position and context."""
    examples: int = 0
    """Test examples of which predictions are saved, and from which scores then come; none are saved where 0."""
    time_ratios: Mapping[str, float] = field(default_factory=dict)
    """Label -> time over the baseline's at 1024 tokens, and a quarter of that at 4096."""

    def run(self, variant: FakeVariant, task: FakeTask, seed: int) -> str:
        hash8 = hashlib.sha256(f"{variant.label} {task.name} {task.options}".encode()).hexdigest()[:8]
        return f"{task.name}.{variant.name}.{hash8}.s{seed}"

    def verdict(self, variant: FakeVariant, task: FakeTask, seed: int) -> tuple[str, str | None]:
        return self.verdicts.get((variant.label, task.name, seed), ("done", None))

    def write(self, results: Path) -> Path:
        """Write the folder below `results` and return the profile's."""
        folder = results / self.name / self.profile
        planned = []
        for task in self.tasks:
            for variant in self.variants:
                for seed in self.seeds:
                    planned.append(self._plan(variant, task, seed))
                    self._write_run(folder / "runs" / planned[-1]["run"], variant, task, seed)
        study = StudyFile(
            study=self.name,
            question=self.question,
            profile=self.profile,
            text=f"name: {self.name}\nquestion: {self.question}\nseeds: {list(self.seeds)}\n",
            runs=planned,
            caveats={key: dict(value) for key, value in self.caveats.items()},
            papers={"softmax": "Vaswani et al. 2017, Attention Is All You Need", "absent": "Nobody, never"},
            complexity={"softmax": "n^2 d", "reformer": "n log n d"},
            command=f"arena run studies/{self.name}.yaml --profile {self.profile}",
        )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "study.json").write_text(study.model_dump_json(indent=2))
        return folder

    def _plan(self, variant: FakeVariant, task: FakeTask, seed: int) -> dict[str, Any]:
        return {
            "run": self.run(variant, task, seed),
            "task": task.name,
            "variant": variant.name,
            "label": variant.label,
            "baseline": variant.name == "softmax",
            "seed": seed,
        }

    def _write_run(self, folder: Path, variant: FakeVariant, task: FakeTask, seed: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "spec.json").write_text(json.dumps({"task_options": task.options, "variant_options": {}}))
        status, detail = self.verdict(variant, task, seed)
        if status == "pending":
            return
        file = self._file(variant, task, seed, status, detail)
        if status == "done" and self.examples:
            numpy.savez_compressed(folder / "predictions.npz", **predictions(variant, task, seed, self.examples))
        (folder / "record.json").write_text(file.model_dump_json(indent=2))
        if status != "unsupported":
            lines = [point.model_dump_json() for point in self._curve(variant, task, seed)]
            (folder / "curve.jsonl").write_text("".join(line + "\n" for line in lines))

    def _scored(self, variant: FakeVariant, task: FakeTask, seed: int) -> dict[str, Any]:
        if not self.examples:
            return {}
        value = score_of(predictions(variant, task, seed, self.examples))
        return {"value": value, "value_last": value, "examples": self.examples}

    def _curve(self, variant: FakeVariant, task: FakeTask, seed: int) -> list[CurvePoint]:
        noise = random.Random(f"curve {variant.label} {task.name} {seed}")
        points = []
        for index in range(self.curve_points):
            step = index * 100
            learnt = 1 - math.exp(-3 * index / self.curve_points)
            value = task.score(variant.skill * learnt + noise.gauss(0, 0.004))
            seconds = step * 32 * 1024 / variant.speed
            points.append(CurvePoint(step=step, seconds=seconds, split="validation", metric=task.metric, value=value))
            points.append(CurvePoint(step=step, seconds=seconds, split="train", metric="loss", value=3 - 2 * learnt))
        return points

    def _file(self, variant: FakeVariant, task: FakeTask, seed: int, status: str, detail: str | None) -> RecordFile:
        done = status == "done"
        ran = status != "unsupported"
        row: dict[str, Any] = dict.fromkeys(Record.model_fields)
        row |= self._plan(variant, task, seed)
        row |= {
            "schema_version": 2,
            "study": self.name,
            "profile": self.profile,
            "spec_hash": "ab" * 32,
            "attempt": int(ran),
            "variant_options": "{}",
            "plugin": "attention-arena",
            "plugin_version": "0.1.0",
            "task_version": 1,
            "task_options": json.dumps(task.options, sort_keys=True),
            "departs_from_shape": variant.departs,
            "status": status,
            "detail": detail,
            "arena_version": "0.1.0",
        }
        if ran:
            row |= _where() | {"source": task.source, "data_hash": "0f" * 32, "length": task.length, "steps": 1000}
        if done:
            row |= {**_quality(variant, task, seed), **_costs(variant, task, seed)}
            row |= self._scored(variant, task, seed) | dict(self.changes)
        measurements = _measurements(variant) if done and self.measure and seed == self.seeds[0] else []
        measurements += time_ratio_rows(self.time_ratios.get(variant.label)) if done else []
        if done and self.perplexity and seed == self.seeds[0] and task.name == "language_model":
            measurements += language_model_rows(variant.skill, carries_state=variant.name == "transformer_xl")
        source = {"kind": task.source, "description": f"{task.name} as made by its task", "licence": "CC0 1.0"}
        return RecordFile(
            record=Record(**row),
            measurements=measurements,
            trivial_baselines=dict(task.trivial) if ran else {},
            source=source if ran else {},
        )


def _where() -> dict[str, Any]:
    return {
        "device": "cpu",
        "device_name": "AMD EPYC 7763",
        "threads": 2,
        "precision": "fp32",
        "torch_version": "2.13.0+cpu",
        "commit": "0123abc",
        "dirty": False,
        "host": "box",
        "started_at": "2025-01-31T12:00:00+00:00",
        "seconds": 312.4,
        "harness_seconds": 6.1,
    }


def _quality(variant: FakeVariant, task: FakeTask, seed: int) -> dict[str, Any]:
    noise = random.Random(f"{variant.label} {task.name} {seed}")
    best = (max if task.higher else min)(task.trivial, key=lambda name: task.trivial[name]) if task.trivial else None
    value = task.score(variant.skill + noise.gauss(0, 0.003))
    return {
        "metric": task.metric,
        "unit": task.unit,
        "higher_is_better": task.higher,
        "value": value,
        "value_last": value,
        "best_step": 900,
        "split": "test",
        "examples": 2000,
        "trivial_baseline": task.trivial[best] if best else None,
        "trivial_baseline_name": best,
    }


def _costs(variant: FakeVariant, task: FakeTask, seed: int) -> dict[str, Any]:
    speed = variant.speed * (1 + 0.01 * seed) * (1.4 if task.length < 1000 else 1.0)
    return {
        "parameters": 120_000 + 1000 * len(variant.name),
        "flops_per_token": 4.2e5 * variant.exponent,
        "step_ms": 32 * task.length / speed * 1000,
        "tokens_per_second": speed,
        "peak_memory_bytes": int(3e8 * variant.exponent * (1 + task.length / 2000)),
        "saved_for_backward_bytes": int(6e7 * variant.exponent),
    }


def _measurements(variant: FakeVariant) -> list[MeasurementRow]:
    rows = []
    for phase in ("inference", "training"):
        for length in (256, 512, 1024, 2048):
            milliseconds = 3 * (length / 256) ** variant.exponent * (40_000 / variant.speed)
            missing = variant.exponent == 2.0 and length == 2048 and phase == "training"
            rows.append(
                MeasurementRow(
                    measure="step_time",
                    phase=phase,
                    length=length,
                    batch_size=8192 // length,
                    value=None if missing else milliseconds * (3 if phase == "training" else 1),
                    unit="ms",
                    higher_is_better=False,
                    samples=5,
                    status="oom" if missing else "done",
                    detail="out of memory" if missing else None,
                )
            )
    rows += [
        MeasurementRow(
            measure="saved_for_backward",
            phase="training",
            length=length,
            batch_size=8192 // length,
            value=1e6 * (1 + length / 4096),
            unit="bytes",
            higher_is_better=False,
        )
        for length in (256, 512)
    ]
    rows.append(MeasurementRow(measure="parameters", phase="model", value=120_000, unit="count"))
    return rows


def _untrained(**changes: Any) -> FakeStudy:
    return FakeStudy(**{"tasks": [LISTOPS], "seeds": [0], "changes": UNTRAINED, "curve_points": 0, **changes})


@pytest.fixture(scope="session")
def fakes() -> SimpleNamespace:
    """What tests build folders of."""
    return SimpleNamespace(
        FakeStudy=FakeStudy,
        untrained=_untrained,
        SOFTMAX=SOFTMAX,
        TRANSFORMER_XL=TRANSFORMER_XL,
        REFORMER=REFORMER,
        LISTOPS=LISTOPS,
        LANGUAGE_MODEL=LANGUAGE_MODEL,
        HOSTILE=HOSTILE,
    )


def _write_mixed(results: Path) -> Path:
    hostile = REFORMER._replace(label=HOSTILE)
    study = FakeStudy(
        variants=(TRANSFORMER_XL, SOFTMAX, hostile),
        question=f"Is <b>{HOSTILE}</b> best?",
        verdicts={
            (HOSTILE, "language_model", 0): ("unsupported", f"{HOSTILE} cannot do causal attention"),
            (HOSTILE, "language_model", 1): ("oom", "killed by the system (signal 9)"),
            (TRANSFORMER_XL.label, "listops", 1): ("failed", "ValueError: <img src=x onerror=alert(1)>"),
            ("softmax", "language_model", 1): ("pending", None),
        },
        caveats={"reformer": {"padding <i>": f"because of {HOSTILE}"}, "absent": {"x": "no part of this study"}},
    )
    return study.write(results)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Three variants, two tasks, two seeds, a hostile name; one run each failed, unsupported, oom and pending."""
    return _write_mixed(tmp_path)


@pytest.fixture(scope="session")
def mixed_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of such a study, written once and only read."""
    return write_report(_write_mixed(tmp_path_factory.mktemp("mixed")), register_figures())
