"""Speed is that of known work: of sleep, and of what another timer says."""

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.utils.benchmark import Timer

from attention_arena.layers import AttentionOutput
from attention_arena.measure import Measurement, Subject
from attention_arena.measures import SPEED
from attention_arena.measures.passes import Passes, batch_size_for
from attention_arena.measures.timing.stopwatch import CLOCKS
from attention_arena.objectives import Classification
from attention_arena.variant import Context, ModelSettings
from tests.core.measures.toys import Nothing, OutOfMemoryBeyond, measured, subject_of

QUICK = {"min_seconds": 0.0, "repetitions": 1, "tokens_per_step": 64}
ATTEMPTS = 6
"""Of a comparison with real time, which another process may disturb; a timer that is wrong fails all of them."""


class Sleeping(Nothing):
    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        time.sleep(0.005)
        return super().forward(x, context)


@pytest.fixture
def clock_of_work_and_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the wall clock go on with this process's work and sleep alone, not while others have the processor."""
    slept = [0.0]

    def sleep(seconds: float) -> None:
        slept[0] += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setitem(CLOCKS, "wall", lambda: time.process_time() + slept[0])


def closest(attempt: Callable[[], float], target: float, within: float) -> float:
    """Return the first result that is within a share of the target, or the closest of several."""
    results: list[float] = []
    while len(results) < ATTEMPTS:
        results.append(attempt())
        if abs(results[-1] - target) <= within * target:
            break
    return min(results, key=lambda result: abs(result - target))


def by_measure(rows: Any) -> dict[tuple[str, str], Measurement]:
    return {(row.measure, row.phase): row for row in rows}


class TestTruth:
    @pytest.mark.parametrize("phase", ["inference", "training"])
    @pytest.mark.usefixtures("clock_of_work_and_sleep", "seeded_on_one_thread")
    def test_a_variant_that_sleeps_5_ms_is_5_ms_slower_within_10_percent(self, phase: str) -> None:
        subject = subject_of(Sleeping, baseline=Nothing)

        def difference() -> float:
            rows = measured(SPEED, subject, phases=[phase], tokens_per_step=64, min_seconds=0.2, tolerance=9.0)
            found = {row.measure: row.value for row in rows}
            assert found["step_time"] is not None
            assert found["time_ratio"] is not None
            return found["step_time"] - found["step_time"] / found["time_ratio"]

        assert closest(difference, 5.0, 0.1) == pytest.approx(5.0, rel=0.1)

    @pytest.mark.parametrize("phase", ["inference", "training"])
    @pytest.mark.usefixtures("seeded_on_one_thread")
    def test_it_agrees_with_the_timer_of_pytorch_within_5_percent(self, phase: str) -> None:
        """On the processor's clock and turn by turn, so that other processes hardly count."""
        subject = subject_of(settings=ModelSettings(d_model=128, n_heads=2, n_layers=2, d_ff=512))
        options = {"clock": "cpu", "min_seconds": 0.05, "repetitions": 1, "lengths": [128], "tokens_per_step": 512}

        def quotient() -> float:
            found = by_measure(measured(SPEED, subject, phases=[phase], **options))["step_time", phase].value
            assert found is not None
            passes = Passes(subject, 4, 128)
            call = passes.inference if phase == "inference" else passes.step
            timer = Timer("call()", globals={"call": call}, timer=time.process_time)
            timer.timeit(2)
            return found / 1e3 / timer.timeit(10).median

        assert closest(lambda: median(quotient() for _ in range(7)), 1.0, 0.05) == pytest.approx(1.0, rel=0.05)


class TestRows:
    def test_there_are_time_speed_and_the_ratio_to_the_baseline(self) -> None:
        rows = measured(SPEED, subject_of(Sleeping, baseline=Nothing), **QUICK)
        measures = [("speed", "tokens/s", True), ("step_time", "ms", False), ("time_ratio", "×", False)]
        assert [(row.phase, row.measure, row.unit, row.higher_is_better) for row in rows] == [
            (phase, *measure) for phase in ("inference", "training") for measure in measures
        ]
        assert {(row.length, row.batch_size, row.status) for row in rows} == {(32, 2, "done")}

    def test_a_run_without_baseline_has_no_ratio(self) -> None:
        assert {row.measure for row in measured(SPEED, subject_of(), **QUICK)} == {"speed", "step_time"}

    def test_tokens_per_second_are_the_tokens_of_a_step_over_its_time(self) -> None:
        found = by_measure(measured(SPEED, subject_of(Sleeping), **QUICK | {"repetitions": 7}))
        rate, step = found["speed", "inference"], found["step_time", "inference"]
        assert rate.value == pytest.approx(64 / (step.value / 1e3))  # type: ignore[operator]
        assert step.low is not None
        assert step.high is not None
        assert 5 <= step.low <= step.value <= step.high  # type: ignore[operator]
        assert step.samples == 7

    def test_the_tokens_of_a_step_are_fixed_over_lengths(self) -> None:
        rows = measured(SPEED, subject_of(), lengths=[8, 16, 100], **QUICK)
        assert {(row.length, row.batch_size) for row in rows} == {(8, 8), (16, 4), (100, 1)}

    def test_or_the_batch_is(self) -> None:
        options = {"min_seconds": 0, "repetitions": 1, "batch_size": 3}
        rows = measured(SPEED, subject_of(), lengths=[8, 16, 100], **options)
        assert {(row.length, row.batch_size) for row in rows} == {(8, 3), (16, 3), (100, 3)}

    def test_both_sequences_of_a_pair_are_tokens(self) -> None:
        assert batch_size_for(subject_of(pairs=True, objective=Classification(2)), 64, 8) == 4


class TestSettings:
    def test_a_phase_has_its_plain_name_in_the_runs_own_setting_alone(self) -> None:
        options = QUICK | {"phases": ["training"], "precisions": ["fp32", "bf16", "fp16"], "compile": [False]}
        rows = measured(SPEED, subject_of(baseline=Nothing), **options)
        assert [row.phase for row in rows if row.measure == "time_ratio"] == [
            "training",
            "training, bf16, eager",
            "training, fp16, eager",
        ]
        assert all(row.value is not None or row.status == "unsupported" for row in rows)

    def test_a_run_in_half_precision_calls_full_precision_by_name(self) -> None:
        subject = replace(subject_of(), precision="bf16")
        rows = measured(SPEED, subject, **QUICK | {"phases": ["inference"], "precisions": ["fp32"]})
        assert {row.phase for row in rows} == {"inference, fp32, eager"}

    @pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
    def test_the_model_runs_in_the_precision_asked_for(self, precision: str, dtype: torch.dtype) -> None:
        seen: list[torch.dtype] = []

        class Looking(Nothing):
            def forward(self, x: Tensor, context: Context) -> AttentionOutput:
                seen.append((x @ x.mT).dtype)
                return super().forward(x, context)

        measured(SPEED, subject_of(Looking), **QUICK | {"precisions": [precision]})
        assert set(seen) == {dtype}

    def test_what_goes_through_torch_compile_has_its_compile_time_apart(self, monkeypatch: pytest.MonkeyPatch) -> None:
        compiled: list[nn.Module] = []

        def compile_slowly(model: nn.Module) -> Callable[..., Any]:
            compiled.append(model)
            first = iter([0.05])
            return lambda batch: (time.sleep(next(first, 0.0)), model(batch))[1]

        monkeypatch.setattr(torch, "compile", compile_slowly)
        options = QUICK | {"phases": ["inference"], "compile": [False, True], "repetitions": 3}
        found = by_measure(measured(SPEED, subject_of(baseline=Nothing), **options))
        assert len(compiled) == 2  # Each once, the variant and the baseline.
        took = found["compile_time", "inference, fp32, compiled"]
        assert (took.unit, took.samples, took.length) == ("s", 1, 32)
        assert took.value == pytest.approx(0.05, abs=0.03)
        assert found["step_time", "inference, fp32, compiled"].value < 20  # type: ignore[operator]
        assert ("compile_time", "inference") not in found

    @pytest.mark.slow
    @pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="needs a C++ compiler")
    def test_torch_compile_itself_works(self) -> None:
        options = QUICK | {"phases": ["inference"], "compile": [True], "repetitions": 2}
        found = by_measure(measured(SPEED, subject_of(), **options))
        phase = "inference, fp32, compiled"
        assert {row.status for row in found.values()} == {"done"}, found
        assert found["compile_time", phase].value > 0.1  # type: ignore[operator]
        assert found["step_time", phase].value < 100  # type: ignore[operator]


class TestEqualWork:
    def models(self, phase: str) -> tuple[nn.Module, nn.Module, Subject]:
        """Return the model of the run and of the baseline after one visit, and the subject."""
        subject = subject_of(baseline=Nothing)
        assert subject.baseline is not None
        built: list[nn.Module] = []

        def build(length: int) -> nn.Module:
            built.append(subject.build(length))
            return built[-1]

        seen = replace(
            subject,
            contender=replace(subject.contender, build=build),
            baseline=replace(subject.baseline, build=build),
        )
        measured(SPEED, seen, **QUICK | {"phases": [phase]})
        own, baseline = built
        return own, baseline, subject

    @pytest.mark.parametrize(("phase", "changes"), [("inference", False), ("training", True)])
    def test_training_steps_change_the_weights_of_both_and_inference_does_not(self, phase: str, changes: bool) -> None:
        own, baseline, subject = self.models(phase)
        fresh = subject.build(32)
        for model in (own, baseline):
            same = [torch.equal(a, b) for a, b in zip(fresh.parameters(), model.parameters(), strict=True)]
            assert all(same) != changes
            assert model.training == changes


class TestFailedCells:
    def test_lengths_beyond_one_out_of_memory_are_not_tried(self) -> None:
        rows = measured(SPEED, subject_of(OutOfMemoryBeyond), lengths=[16, 17, 8, 40], **QUICK)
        assert [row.length for row in rows] == [length for length in (16, 17, 8, 40) for _ in range(4)]
        reasons = {row.length: (row.status, row.detail) for row in rows}
        oom = "OutOfMemoryError: no 3 GiB left"
        assert reasons == {
            8: ("done", None),
            16: ("done", None),
            17: ("oom", oom),
            40: ("oom", "not tried, because 17 tokens gave oom already"),
        }

    def test_a_call_beyond_max_seconds_is_a_timeout(self) -> None:
        rows = measured(SPEED, subject_of(Sleeping, baseline=Nothing), **QUICK, max_seconds=0.004)
        assert {(row.status, row.value) for row in rows} == {("timeout", None)}
        assert all("more than max_seconds (0.004)" in (row.detail or "") for row in rows)

    def test_a_baseline_out_of_memory_leaves_the_variants_own_time(self) -> None:
        rows = measured(SPEED, subject_of(Nothing, baseline=OutOfMemoryBeyond), lengths=[17], **QUICK)
        assert {(row.measure, row.status, row.value is None) for row in rows} == {
            ("speed", "done", False),
            ("step_time", "done", False),
            ("time_ratio", "oom", True),
        }
        details = {row.detail for row in rows if row.detail}
        assert details == {"the baseline, the baseline: OutOfMemoryError: no 3 GiB left"}

    def test_on_a_cpu_a_cell_beyond_the_runs_memory_is_out_of_memory(self) -> None:
        class Greedy(Nothing):
            def forward(self, x: Tensor, context: Context) -> AttentionOutput:
                torch.ones(2**40, dtype=torch.uint8)
                return super().forward(x, context)

        rows = measured(SPEED, replace(subject_of(Greedy), memory_limit=2**33), **QUICK)
        assert {row.status for row in rows} == {"oom"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lengths": []}, "lengths"),
        ({"lengths": [0]}, "greater than or equal to 1"),
        ({"phases": ["sleeping"]}, "phases"),
        ({"phases": []}, "phases"),
        ({"repetitions": 0}, "repetitions"),
        ({"precisions": ["fp8"]}, "precisions"),
        ({"compile": []}, "compile"),
        ({"max_seconds": 0}, "max_seconds"),
        ({"clock": "sun"}, "clock"),
        ({"length": 5}, "length"),
        ({"tokens_per_step": 64, "batch_size": 2}, r"tokens_per_step \(64\) and batch_size \(2\) both fix the batch"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else None,
)
def test_options_that_mean_nothing_are_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SPEED.options(**options)
