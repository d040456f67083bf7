"""A study's folder as a runner would leave it, of any size, made of formulas: what `bench.report` reports on."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from attention_arena.runs.record import CurvePoint, MeasurementRow, Record, RecordFile, StudyFile

LENGTHS = tuple(256 * 2**k for k in range(8))
LAYERS, HEADS = 6, 8
STUDY = "scale"


class Size(NamedTuple):
    """How much there is of everything."""

    labels: int
    tasks: int
    seeds: int
    rows: int
    """Measurements of a run."""
    points: int
    """Points of a run's curve."""
    examples: int
    """Test examples with predictions."""

    @property
    def runs(self) -> int:
        """Runs of the study."""
        return self.labels * self.tasks * self.seeds


def write_study(results: Path, size: Size) -> Path:
    """Write the study below `results` and return its profile's folder; the same size gives the same bytes."""
    folder = results / STUDY / "bench"
    plan = []
    for task, label, seed in product(range(size.tasks), range(size.labels), range(size.seeds)):
        row = _plan(task, label, seed)
        plan.append(row)
        _write_run(folder / "runs" / row["run"], row, label, size)
    study = StudyFile(
        study=STUDY, profile="bench", question="Is the report up to it?", text=f"name: {STUDY}", runs=plan
    )
    (folder / "study.json").write_text(study.model_dump_json())
    return folder


def _plan(task: int, label: int, seed: int) -> dict[str, Any]:
    return {
        "run": f"task_{task}.variant_{label % 8}.{label:08x}.s{seed}",
        "task": f"task_{task}",
        "variant": f"variant_{label % 8}",
        "label": f"variant_{label % 8} (option={label})",
        "baseline": label == 0,
        "seed": seed,
    }


def _write_run(folder: Path, plan: dict[str, Any], label: int, size: Size) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng([label, plan["seed"], len(plan["task"])])
    correct = noise.random(size.examples) < 0.3 + 0.5 * label / size.labels
    targets = np.random.default_rng(0).integers(0, 9, size.examples)
    np.savez_compressed(folder / "predictions.npz", best_correct=correct, best_target=targets)
    file = RecordFile(
        record=_record(plan, label, 100 * float(correct.mean()), size.examples),
        measurements=list(islice(_measurements(1 + label / size.labels), size.rows)),
        trivial_baselines={"majority class": 11.0},
        source={"kind": "generated", "description": "made of formulas", "licence": "CC0 1.0"},
    )
    (folder / "record.json").write_text(file.model_dump_json())
    (folder / "curve.jsonl").write_text("".join(f"{point.model_dump_json()}\n" for point in _curve(label, size.points)))


def _record(plan: dict[str, Any], label: int, score: float, examples: int) -> Record:
    return Record(
        **dict.fromkeys(Record.model_fields)
        | plan
        | {"schema_version": 2, "study": STUDY, "profile": "bench", "spec_hash": "ab" * 32, "attempt": 1}
        | {"variant_options": json.dumps({"option": label}), "task_options": '{"length": 4096}', "task_version": 1}
        | {"plugin": "attention-arena", "plugin_version": "0.1.0", "arena_version": "0.1.0", "status": "done"}
        | {"source": "generated", "data_hash": "0f" * 32, "length": 4096, "steps": 1000, "seconds": 60.0}
        | {"started_at": "2025-01-31T12:00:00+00:00", "device": "cpu", "device_name": "CPU", "threads": 1}
        | {"metric": "accuracy", "unit": "%", "higher_is_better": True, "best_step": 900}
        | {"value": score, "value_last": score}
        | {"split": "test", "examples": examples, "trivial_baseline": 11.0, "trivial_baseline_name": "majority class"}
        | {"parameters": 120_000 + label, "flops_per_token": 4e5 + label, "step_ms": 30.0 + label}
        | {"tokens_per_second": 4e4 / (1 + label), "peak_memory_bytes": 10**8 + label, "precision": "fp32"}
    )


def _curve(label: int, points: int) -> Iterator[CurvePoint]:
    for step in range(points // 2):
        learnt = 1 - math.exp(-3 * step / points)
        seconds = step * (1 + 0.01 * label)
        yield CurvePoint(step=step, seconds=seconds, split="validation", metric="accuracy", value=60 * learnt)
        yield CurvePoint(step=step, seconds=seconds, split="train", metric="loss", value=3 - 2 * learnt)


def _measurements(factor: float) -> Iterator[MeasurementRow]:
    """Yield rows of costs by length, then of every head, then of every place of a spectrum, without end."""
    for (measure, unit), phase, length in product(
        (("step_time", "ms"), ("time_ratio", "×"), ("peak_memory", "bytes")), ("training", "inference"), LENGTHS
    ):
        yield _row(measure, phase, factor * length**1.5, unit, length=length, batch_size=16)
    of_heads = ("attention_sparsity", "attention_span", "attention_rank")
    for measure, phase, layer, head in product(of_heads, ("trained", "untrained"), range(LAYERS), range(HEADS)):
        yield _row(measure, phase, 5 * factor + layer + head, "%", layer=layer, head=head)
    place = 0
    while True:
        for phase, layer in product(("trained", "untrained"), range(LAYERS)):
            yield _row("attention_spectrum", phase, 100 - 100 / (2 + place), "%", layer=layer, position=place)
        place += 1


def _row(measure: str, phase: str, value: float, unit: str, **place: int) -> MeasurementRow:
    ends = {"low": 0.97 * value, "high": 1.03 * value}
    return MeasurementRow(measure=measure, phase=phase, value=value, unit=unit, samples=9, **ends, **place)
