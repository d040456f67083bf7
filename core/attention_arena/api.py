"""The Python face of studies: from a file to its report, and results as frames."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import torch

from attention_arena.catalogue import Catalogue, load_catalogue
from attention_arena.errors import ConfigError
from attention_arena.prepared import data_folder
from attention_arena.runs.executors import Place
from attention_arena.runs.live import LivePage, report_apart
from attention_arena.runs.progress import Progress, progress_for
from attention_arena.runs.provenance import arena_version, provenance
from attention_arena.runs.record import Claim, RecordFile, StudyFile
from attention_arena.runs.runner import Runner
from attention_arena.runs.spec import RunSpec, resolve
from attention_arena.runs.store import Store
from attention_arena.study import find_study, load_study
from attention_arena.study.plan import Plan, PlannedRun
from attention_arena.task import TaskError


class Summary(NamedTuple):
    """What a study came to."""

    folder: Path
    """`<results>/<study>/<profile>`."""
    records: dict[str, RecordFile]
    """By run, in the plan's order."""
    executed: int
    """Runs that had no record before."""
    report: Path | None
    """The page, where one was written."""

    @property
    def failed(self) -> list[str]:
        """Runs whose verdict is failed."""
        return [run for run, file in self.records.items() if file.record.status == "failed"]


def run_study(
    study: str | Path,
    *,
    profile: str | None = None,
    results: str | Path = "results",
    device: str = "auto",
    workers: int = 1,
    executor: str = "local",
    only: Sequence[str] = (),
    retry: bool = False,
    report: bool = True,
    live: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Run a study, a file or a shipped one by name, and write its tables and report.

    Runs that have a record are kept, so calling it again continues. `only` keeps runs whose task, variant, label or
    name matches one of the patterns (`reformer`, `listops.*`). `live` rewrites the page while runs finish. Raises
    ConfigError before anything is written where the study, the device or the executor cannot be; KeyboardInterrupt ends
    the children and records nothing of them.
    """
    catalogue = load_catalogue()
    plan = load_study(find_study(study), profile, catalogue)
    place = find_place(device, workers)
    chosen_executor = catalogue.executor(executor)
    progress = progress or progress_for()
    specs = select(resolve_plan(plan, catalogue, progress), only)
    folder = Path(results) / plan.study.name / plan.profile
    store = Store(folder)
    store.prepare(study_file(plan, specs, study, results), specs)
    if live:
        progress = LivePage(progress, lambda: report_apart(folder))
    before = {spec.run for spec in specs if store.record(spec.run) is not None}
    runner = Runner(
        store, (plan.study.name, plan.profile), chosen_executor, place, workers, provenance(), progress, retry=retry
    )
    records = runner.run(specs)
    attempted = [run for run in records if run not in before or retry]
    page = None
    if report:
        from attention_arena.report.page.report import write_report

        page = write_report(folder, list(catalogue.figures.values()))
    return Summary(folder, records, len(attempted), page)


def resolve_plan(plan: Plan, catalogue: Catalogue, progress: Progress) -> list[RunSpec]:
    """Prepare the data of every task that a run will read, and return the plan's specs."""
    hashes: dict[tuple[str, str], str] = {}
    for planned in plan.runs:
        key = planned.task_key
        if planned.unsupported is None and key not in hashes:
            try:
                hashes[key] = planned.task.load(planned.task_options, data_folder()).data_hash
            except TaskError as error:
                raise ConfigError(f"task {planned.task.name}: {error}") from error
    specs = []
    for planned in plan.runs:
        origins = {}
        for variant in [planned.variant, *([planned.reference.variant] if planned.reference else [])]:
            plugin = catalogue.plugin_of("variant", variant.name)
            origins[variant.name] = (plugin.distribution, plugin.version)
        specs.append(resolve(planned, hashes.get(planned.task_key), origins, arena_version()))
    return specs


def select(specs: list[RunSpec], only: Sequence[str]) -> list[RunSpec]:
    """Return the runs that match a pattern of `only`; all of them where there is none."""
    if not only:
        return specs
    chosen = [
        spec
        for spec in specs
        if any(
            fnmatchcase(name, pattern)
            for pattern in only
            for name in (spec.task, spec.variant, spec.label, f"{spec.task}.{spec.variant}", spec.run)
        )
    ]
    if not chosen:
        known = ", ".join(sorted({f"{spec.task}.{spec.variant}" for spec in specs}))
        raise ConfigError(f"no run matches {', '.join(only)}; the study has {known}")
    return chosen


def find_place(device: str, workers: int) -> Place:
    """Return where runs are executed: the processor or the accelerator, and each worker's share of the threads."""
    if workers < 1:
        raise ConfigError(f"workers must be at least 1, got {workers}")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise ConfigError(f"device must be auto, cpu, cuda or cuda:N, got {device!r}")
    if device != "cpu":
        n_devices = torch.cuda.device_count()
        if not n_devices:
            raise ConfigError(f"device {device} was asked for, but torch sees no CUDA device; use --device cpu")
        if (torch.device(device).index or 0) >= n_devices:
            raise ConfigError(f"device {device} was asked for, but N must be below the {n_devices} that torch sees")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Place(device, max(1, cores // workers))


def study_file(plan: Plan, specs: list[RunSpec], study: str | Path, results: str | Path) -> StudyFile:
    """Return `study.json`: what was asked."""
    variants = {planned.variant.name: planned.variant for planned in plan.runs}
    tasks = {planned.task.name: planned.task for planned in plan.runs}
    return StudyFile(
        study=plan.study.name,
        question=plan.study.question,
        profile=plan.profile,
        text=plan.text,
        runs=[
            {
                "run": spec.run,
                "task": spec.task,
                "variant": spec.variant,
                "label": spec.label,
                "baseline": spec.baseline,
                "seed": spec.seed,
                "matched": spec.match.what if spec.match else None,
                "match_gap": spec.match.gap if spec.match else None,
                "match": spec.match.words if spec.match else None,
            }
            for spec in specs
        ],
        caveats={name: dict(variant.caveats) for name, variant in variants.items() if variant.caveats},
        papers={v.name: v.paper for v in variants.values()} | {t.name: t.paper for t in tasks.values()},
        complexity={name: v.complexity.formula for name, v in variants.items() if v.complexity},
        claims={run.label: claim for run in plan.runs if (claim := _claim(run)) is not None},
        references=sorted({run.label for run in plan.runs if run.variant.reference}),
        command=f"arena run {study} --profile {plan.profile}"
        + ("" if str(results) == "results" else f" --results {results}"),
    )


def _claim(run: PlannedRun) -> Claim | None:
    claimed = run.variant.claim(run.variant_options)
    return claimed and Claim(time=claimed.time, memory=claimed.memory, at_most=claimed.at_most)
