"""What happens inside a run's child process."""

from __future__ import annotations

import platform
import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch

from attention_arena.catalogue import Catalogue, load_catalogue
from attention_arena.measure import Contender, Measurement, Subject
from attention_arena.measures.budget import memory_budget
from attention_arena.measures.compute.flops import count_inference
from attention_arena.measures.memory.counting import peak_memory, saved_for_backward
from attention_arena.measures.passes import reason_for
from attention_arena.model import SequenceModel, build_model
from attention_arena.prepared import data_folder
from attention_arena.runs.apart import FreshProcesses
from attention_arena.runs.arrays import Arrays
from attention_arena.runs.curve import Curve
from attention_arena.runs.outcome import Outcome
from attention_arena.runs.quality import quality_rows, save_predictions
from attention_arena.runs.record import MeasurementRow
from attention_arena.runs.spec import MeasureSpec, ReferenceSpec, RunSpec
from attention_arena.runs.synthetic import synthetic_batch
from attention_arena.study.schema import TrainingSettings
from attention_arena.task import Batch, TaskData
from attention_arena.training import Outcome as Trained
from attention_arena.training import autocast_for, train
from attention_arena.variant import ModelSettings, Options, Variant


class Execution:
    """One run: data, model, training, scores and measures."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.folder, self.device = folder, device
        self.spec = RunSpec.model_validate_json((folder / "spec.json").read_bytes())
        self.catalogue: Catalogue = load_catalogue(kinds=("variant", "task", "measure"))
        self.contender = self._contender(self.spec, self.spec.label)
        self.baseline = self._contender(self.spec.reference, self.spec.reference.label) if self.spec.reference else None
        self.training = TrainingSettings(**self.spec.training)
        self.data = self._load()
        gib = self.spec.limits.memory_gib
        self.memory_limit = None if gib is None else int(gib * 2**30)
        self.apart: FreshProcesses | None = None

    def execute(self, threads: int) -> Outcome:
        """Train, score and measure on so many threads; leave checkpoint, curve and predictions in the run's folder.

        Where there is something to measure, fresh processes are forked from this one as it is now, so no thread pool
        may have started.
        """
        with ExitStack() as open_until_done:
            if self.spec.measures:
                self._fork(open_until_done, threads)
            torch.set_num_threads(threads)
            return self._execute()

    def _fork(self, open_until_done: ExitStack, threads: int) -> None:
        fresh = FreshProcesses.start(self._untrained, threads, self.memory_limit)
        if fresh is not None:
            self.apart = open_until_done.enter_context(fresh)

    def _execute(self) -> Outcome:
        model = self.build(self.data.max_length)
        torch.manual_seed(self.spec.seed)
        with Curve(self.folder, self.training.steps) as curve:
            trained = train(model, self.data, self.training, self.spec.seed, self.device, curve.point, curve.step)
        peak = peak_memory(self.device)
        if trained.test_best is not None:
            torch.save(model.state_dict(), self.folder / "checkpoint.pt")
            save_predictions(self.folder / "predictions.npz", trained)
        began = time.perf_counter()
        cost = self._cost()
        rows = quality_rows(self.data.objective, trained) + self._measure(model)
        working = trained.seconds["train"] - trained.seconds["data"] + trained.seconds["evaluate"]
        working += time.perf_counter() - began
        return Outcome(
            status=trained.status,
            detail=trained.detail,
            steps=trained.steps,
            best_step=trained.best_step,
            **self._quality(trained),
            **self._speed(trained),
            **cost,
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            peak_memory_bytes=peak,
            device=self.device.type,
            device_name=device_name(self.device),
            threads=torch.get_num_threads(),
            torch_version=torch.__version__,
            measurements=rows,
            trivial_baselines=dict(self.data.trivial_baselines),
            source={
                "kind": self.data.source.kind,
                "description": self.data.source.description,
                "licence": self.data.source.licence,
            },
            length=self.data.max_length,
            working_seconds=working,
        )

    def _load(self) -> TaskData:
        task = self.catalogue.task(self.spec.task)
        data = task.load(task.options(**self.spec.task_options), data_folder())
        if data.data_hash != self.spec.data_hash:
            raise RuntimeError(
                f"the data of {task.name} are not those that were planned (hash {data.data_hash[:12]}, "
                f"planned {(self.spec.data_hash or 'none')[:12]}); run the study again to plan anew"
            )
        return data

    def build(self, length: int) -> SequenceModel:
        """Return a fresh model of the run's own variant for sequences of up to `length` tokens."""
        return cast(SequenceModel, self.contender.build(length))

    def subject(self, trained: SequenceModel) -> Subject:
        """Return what measures look at; it saves no arrays and starts no processes."""
        return Subject(
            contender=self.contender,
            trained=trained,
            synthetic_batch=self._synthetic,
            data=self.data,
            device=self.device,
            autocast=autocast_for(self.training.precision, self.device),
            learning_rate=self.training.learning_rate,
            length=self.data.max_length,
            batch_size=self.training.batch_size,
            seed=self.spec.seed,
            baseline=self.baseline,
            precision=self.training.precision,
            compile=self.training.compile,
            memory_limit=self.memory_limit,
        )

    def _untrained(self) -> Subject:
        return self.subject(self.build(self.data.max_length))

    def _contender(self, spec: RunSpec | ReferenceSpec, label: str) -> Contender:
        variant = self.catalogue.variant(spec.variant)
        options, settings = variant.options(**spec.variant_options), ModelSettings(**spec.model)
        return Contender(label, variant, options, settings, partial(self._build, variant, options, settings))

    def _build(self, variant: Variant, options: Options, settings: ModelSettings, length: int) -> SequenceModel:
        if self.device.index is not None:
            # Kernels that are compiled, and whoever says `cuda` without a number, go to the current device.
            torch.cuda.set_device(self.device)
        torch.manual_seed(self.spec.seed)
        return build_model(variant, options, settings, self.data, length).to(self.device)

    def _quality(self, trained: Trained) -> dict[str, Any]:
        metric = self.data.objective.metrics[0]
        best, last = trained.test_best, trained.test_last
        return {
            "metric": metric.name,
            "unit": metric.unit,
            "higher_is_better": metric.higher_is_better,
            "value": best.metrics[metric.name] if best else None,
            "value_last": last.metrics[metric.name] if last else None,
            "examples": self.data.test.n_examples if best else None,
        }

    def _speed(self, trained: Trained) -> dict[str, Any]:
        if trained.step_seconds is None:
            return {}
        # Both sequences of a pair count.
        tokens = self.training.batch_size * self._synthetic(1, self.data.max_length).tokens.numel()
        return {"step_ms": trained.step_seconds * 1e3, "tokens_per_second": tokens / trained.step_seconds}

    def _cost(self) -> dict[str, Any]:
        """Count FLOPs of a forward pass, and what one training step keeps for backward, at the task's full length."""
        model = self.build(self.data.max_length).train()
        rows = self.training.micro_batch_size or self.training.batch_size
        one, batch = self._synthetic(1, self.data.max_length), self._synthetic(rows, self.data.max_length)
        # Fused attention is counted by its plain formula, whose n x n matrix may not fit where the training did.
        with memory_budget(self.memory_limit):
            flops = sum(count_inference(self.subject(model), self.data.max_length))

        def forward() -> torch.Tensor:
            output = model(batch)
            return self.data.objective.score(model.head, output.hidden, batch).loss

        apart = [*model.parameters(), *(part for part in batch if part is not None)]
        with autocast_for(self.training.precision, self.device)():
            saved = saved_for_backward(forward, apart)
        return {"flops_per_token": flops / one.tokens.numel(), "saved_for_backward_bytes": saved}

    def _synthetic(self, batch_size: int, length: int) -> Batch:
        return synthetic_batch(self.data, batch_size, length, self.spec.seed, self.device)

    def _measure(self, model: SequenceModel) -> list[MeasurementRow]:
        if not self.spec.measures:
            return []
        subject = replace(self.subject(model), save=Arrays(self.folder).save, apart=self.apart)
        rows = [row for wanted in self.spec.measures for row in self._measured(wanted, subject)]
        return [MeasurementRow(**row._asdict()) for row in rows]

    def _measured(self, wanted: MeasureSpec, subject: Subject) -> Sequence[Measurement]:
        """Return the rows of one measure; what it raises costs neither the score nor other measures, and is a row."""
        measure = self.catalogue.measure(wanted.name)
        try:
            return measure.run(measure.options(**wanted.options), subject)
        except Exception as error:
            traceback.print_exc()
            return [Measurement(wanted.name, "", None, "").without(*reason_for(error))]


def device_name(device: torch.device) -> str:
    """Return the name of the processor or accelerator."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
