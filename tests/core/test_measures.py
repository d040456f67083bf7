"""The measures report what is known beforehand: bytes kept, FLOPs counted, time slept."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from attention_arena.layers import Attention, AttentionOutput, Stack
from attention_arena.measure import Contender, Measure, Measurement, Subject
from attention_arena.measures import (
    FLOPS,
    MEMORY,
    PARAMETERS,
    SPEED,
    count_flops,
    count_parameters,
    median_interval,
    register_measures,
    saved_for_backward,
    time_calls,
)
from attention_arena.measures.memory import peak_memory, resident_growth
from attention_arena.measures.passes import batch_size_for
from attention_arena.model import SequenceModel
from attention_arena.objectives import Classification, LanguageModeling
from attention_arena.task import Batch, Objective, Source, Split, TaskData
from attention_arena.variant import Capability, Context, ModelSettings, ModelShape, Options, Variant

MIB = 2**20
CPU = torch.device("cpu")
VOCABULARY = 11


class Empty(Split):
    n_examples = 0
    content_hash = "00"

    def batches(self, batch_size: int, order_seed: int | None = None) -> Iterator[Batch]:
        return iter(())


class Nothing(Attention):
    """Attention that adds nothing to the stream."""

    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        return AttentionOutput(torch.zeros_like(x))


NOTHING = Variant(
    name="nothing",
    summary="attention that adds nothing",
    paper="none",
    supports=frozenset(Capability),
    options=Options,
    build=lambda options, shape: Stack(shape, lambda layer: Nothing()),
)


def subject_of(
    attention: Callable[[], Attention] = Nothing, objective: Objective | None = None, pairs: bool = False
) -> Subject:
    goal = objective or LanguageModeling(VOCABULARY)
    data = TaskData(VOCABULARY, 32, goal, Empty(), Empty(), Empty(), Source("generated", "none"))

    def build(length: int) -> SequenceModel:
        torch.manual_seed(0)
        shape = ModelShape(d_model=8, n_heads=2, n_layers=1, d_ff=16, max_length=length, causal=goal.causal)
        return SequenceModel(Stack(shape, lambda layer: attention()), shape, VOCABULARY, goal)

    def batch(batch_size: int, length: int) -> Batch:
        tokens = torch.ones(batch_size, *([2] if pairs else []), length, dtype=torch.int64)
        targets = torch.ones(batch_size, dtype=torch.int64) if goal.pools else tokens
        return Batch(tokens, targets)

    contender = Contender(
        "nothing", NOTHING, Options(), ModelSettings(d_model=8, n_heads=2, n_layers=1, d_ff=16), build
    )
    return Subject(contender, build(32), batch, data, CPU, nullcontext, 1e-3, length=32, batch_size=4)


def measured(measure: Measure, subject: Subject, **options: Any) -> Sequence[Measurement]:
    return measure.run(measure.options(**options), subject)


class Keeping(torch.autograd.Function):
    """The identity, which keeps a tensor of so many bytes for backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, n_bytes: int) -> Tensor:
        ctx.save_for_backward(torch.zeros(n_bytes, dtype=torch.uint8))
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return grads[0], None


class TestSavedForBackward:
    @pytest.mark.parametrize("n_mib", [1, 16, 100])
    def test_what_a_layer_keeps_is_reported(self, n_mib: int) -> None:
        x = torch.ones(3, requires_grad=True)
        saved = saved_for_backward(lambda: Keeping.apply(x, n_mib * MIB))
        assert saved == pytest.approx(n_mib * MIB, rel=0.02)

    def test_a_storage_counts_once_however_many_views_are_kept(self) -> None:
        x = torch.ones(1000, requires_grad=True)

        def function() -> Tensor:
            y = x.exp()  # Keeps its result.
            return (y.view(10, 100) * y.view(10, 100)).sum() + (y[:500] * y[500:]).sum()

        assert saved_for_backward(function) == 4000

    def test_parameters_and_the_input_are_apart(self) -> None:
        layer, x = nn.Linear(10, 20), torch.ones(5, 10)
        hidden = 5 * 20 * 4
        assert saved_for_backward(lambda: layer(x).exp()) == hidden + x.numel() * 4
        assert saved_for_backward(lambda: layer(x).exp(), [x, *layer.parameters()]) == hidden

    def test_what_the_graph_has_dropped_does_not_count(self) -> None:
        x = torch.ones(1000, requires_grad=True)

        def function() -> Tensor:
            x.exp()  # Its graph is gone when the function returns.
            return x.sin()

        assert saved_for_backward(function, [x]) == 0

    def test_without_gradients_nothing_is_kept(self) -> None:
        with torch.no_grad():
            assert saved_for_backward(lambda: torch.ones(100, requires_grad=True).exp()) == 0

    def test_backward_still_works_on_what_was_counted(self) -> None:
        x = torch.full((4,), 0.5, requires_grad=True)
        graph: list[Tensor] = []
        saved_for_backward(lambda: graph.append(x.exp().sum()))
        graph[0].backward()  # type: ignore[no-untyped-call]
        torch.testing.assert_close(x.grad, x.detach().exp())


class TestFlops:
    def test_those_of_a_linear_map_are_exact(self) -> None:
        layer, x = nn.Linear(32, 48), torch.ones(5, 7, 32)
        assert count_flops(lambda: layer(x)) == 2 * 5 * 7 * 32 * 48

    def test_backward_counts_two_more_products(self) -> None:
        layer, x = nn.Linear(32, 48), torch.ones(5, 32, requires_grad=True)
        assert count_flops(lambda: layer(x).sum().backward()) == 3 * 2 * 5 * 32 * 48

    def test_fused_attention_counts_both_of_its_products(self) -> None:
        heads = torch.ones(2, 3, 16, 8)
        flops = count_flops(lambda: nn.functional.scaled_dot_product_attention(heads, heads, heads))
        assert flops == 2 * (2 * 2 * 3 * 16 * 16 * 8)

    def test_rows_are_per_token(self) -> None:
        inference, training = measured(FLOPS, subject_of(), lengths=[20])
        feed_forward, head = 2 * 2 * 8 * 16, 2 * 8 * VOCABULARY
        assert (inference.phase, inference.value) == ("inference", feed_forward + head)
        assert (training.phase, training.value) == ("training", 3 * (feed_forward + head))
        assert (inference.unit, inference.length, inference.higher_is_better) == ("FLOPs", 20, False)

    def test_the_default_length_is_the_tasks_own(self) -> None:
        assert {row.length for row in measured(FLOPS, subject_of())} == {32}


class TestMedianInterval:
    def test_the_interval_lies_between_order_statistics(self) -> None:
        """Of 20 samples the 6th smallest and largest hold 95.9 %, the 7th would hold 88.5 %."""
        assert median_interval(list(range(20, 0, -1))) == (10.5, 6, 15)

    def test_six_samples_have_their_range_as_interval_and_five_have_none(self) -> None:
        assert median_interval([3, 1, 2, 6, 5, 4]) == (3.5, 1, 6)
        assert median_interval([3, 1, 2, 5, 4]) == (3, None, None)

    @pytest.mark.parametrize("n", [6, 10, 25])
    def test_it_holds_the_true_median_in_95_percent_of_draws(self, n: int) -> None:
        generator = torch.Generator().manual_seed(n)
        draws = torch.rand(2000, n, generator=generator, dtype=torch.float64).tolist()
        intervals = [median_interval(draw) for draw in draws]
        held = sum(interval.low <= 0.5 <= interval.high for interval in intervals) / len(draws)  # type: ignore[operator]
        assert held > 0.94


class Sleeping(Nothing):
    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        time.sleep(0.005)
        return super().forward(x, context)


class TestSpeed:
    def test_a_layer_that_sleeps_5_ms_takes_at_least_that(self) -> None:
        rows = measured(SPEED, subject_of(Sleeping), tokens_per_step=64, min_seconds=0, repetitions=6)
        times = {row.phase: row for row in rows if row.measure == "step_time"}
        assert set(times) == {"inference", "training"}
        for row in times.values():
            assert row.value is not None
            assert row.low is not None
            assert row.high is not None
            assert 5 <= row.low <= row.value <= row.high
            assert row.value < 1000
            assert (row.unit, row.samples, row.higher_is_better) == ("ms", 6, False)

    def test_tokens_per_second_are_the_tokens_of_a_step_over_its_time(self) -> None:
        rates, times = measured(
            SPEED, subject_of(Sleeping), tokens_per_step=64, min_seconds=0, repetitions=7, phases=["inference"]
        )
        assert rates.value is not None
        assert times.value is not None
        assert rates.value == pytest.approx(64 / (times.value / 1e3))
        assert (rates.unit, rates.higher_is_better) == ("tokens/s", True)

    def test_the_tokens_of_a_step_are_fixed_over_lengths(self) -> None:
        rows = measured(SPEED, subject_of(), lengths=[8, 16, 100], tokens_per_step=64, min_seconds=0, repetitions=1)
        assert {(row.length, row.batch_size) for row in rows} == {(8, 8), (16, 4), (100, 1)}

    def test_both_sequences_of_a_pair_are_tokens(self) -> None:
        assert batch_size_for(subject_of(pairs=True, objective=Classification(2)), 64, 8) == 4

    def test_warm_up_is_no_sample(self) -> None:
        durations = iter([0.3, 0.3, 0.3])
        samples = time_calls(lambda: time.sleep(next(durations, 0.002)), CPU, repetitions=5, min_seconds=0)
        assert len(samples) == 5
        assert max(samples) < 0.3

    def test_sampling_goes_on_for_the_shortest_time(self) -> None:
        began = time.perf_counter()
        samples = time_calls(lambda: time.sleep(0.002), CPU, repetitions=1, min_seconds=0.05)
        assert time.perf_counter() - began >= 0.05
        assert len(samples) > 5

    def test_short_calls_are_timed_many_at_a_time(self) -> None:
        calls: list[int] = []
        samples = time_calls(lambda: calls.append(1), CPU, repetitions=3, min_seconds=0)
        assert len(calls) > 10 * len(samples)

    def test_training_steps_change_the_weights_and_inference_does_not(self) -> None:
        subject = subject_of()
        models: list[nn.Module] = []

        def build(length: int) -> nn.Module:
            models.append(subject.build(length))
            return models[-1]

        for phase in ("inference", "training"):
            measured(
                SPEED,
                replace(subject, contender=replace(subject.contender, build=build)),
                phases=[phase],
                min_seconds=0,
                repetitions=1,
            )
        fresh, after_inference, after_training = subject.build(32), *models
        kept = [torch.equal(a, b) for a, b in zip(fresh.parameters(), after_inference.parameters(), strict=True)]
        assert all(kept)
        changed = [not torch.equal(a, b) for a, b in zip(fresh.parameters(), after_training.parameters(), strict=True)]
        assert any(changed)


class KeepingOneMib(Nothing):
    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        return AttentionOutput(Keeping.apply(super().forward(x, context).hidden + x, MIB))


class TestMemory:
    def test_a_layer_that_keeps_a_mebibyte_adds_that_to_the_step(self) -> None:
        kept = [measured(MEMORY, subject_of(attention))[0].value for attention in (Nothing, KeepingOneMib)]
        assert kept[1] - kept[0] == pytest.approx(MIB, rel=0.02)  # type: ignore[operator]

    def test_rows_say_what_was_kept_and_what_the_peak_was(self) -> None:
        rows = measured(MEMORY, subject_of(), lengths=[16], tokens_per_step=64)
        assert [(row.measure, row.length, row.batch_size, row.unit) for row in rows] == [
            ("saved_for_backward", 16, 4, "bytes"),
            ("peak_resident_growth", 16, 4, "bytes"),
        ]
        assert all(row.value is not None for row in rows)

    def test_the_batch_is_the_runs_own_unless_tokens_are_given(self) -> None:
        assert {row.batch_size for row in measured(MEMORY, subject_of())} == {4}

    def test_the_resident_set_grows_by_what_is_touched(self) -> None:
        def touch() -> None:
            torch.ones(64 * MIB, dtype=torch.uint8)
            time.sleep(0.02)

        def hold() -> None:
            block = torch.ones(64 * MIB, dtype=torch.uint8)
            time.sleep(0.02)
            assert block[0] == 1

        touch()  # Whatever is loaded once is loaded now.
        assert resident_growth(hold) == pytest.approx(64 * MIB, rel=0.2)

    def test_the_peak_of_the_process_is_at_least_its_present_size(self) -> None:
        assert peak_memory(CPU) > 50 * MIB


class TestParameters:
    def test_parts_add_up_to_the_total(self) -> None:
        model = subject_of().trained
        counts = count_parameters(model)
        assert counts["total"] == sum(parameter.numel() for parameter in model.parameters())
        assert counts["embedding"] == VOCABULARY * 8 + 32 * 8
        assert counts["head"] == VOCABULARY * 8 + VOCABULARY
        assert counts["backbone"] == (8 * 16 + 16) + (16 * 8 + 8) + 3 * 16

    def test_a_tied_weight_counts_once_and_for_the_embedding(self) -> None:
        counts = count_parameters(subject_of(objective=LanguageModeling(VOCABULARY, tied=True)).trained)
        assert (counts["embedding"], counts["head"]) == (VOCABULARY * 8 + 32 * 8, VOCABULARY)

    def test_rows_name_their_part(self) -> None:
        rows = measured(PARAMETERS, subject_of())
        assert [row.phase for row in rows] == ["total", "embedding", "backbone", "head"]
        assert rows[0].value == sum(row.value or 0 for row in rows[1:])


class OutOfMemoryBeyond(Nothing):
    longest = 16

    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        if x.shape[1] > self.longest:
            raise torch.OutOfMemoryError("no 3 GiB left\non this device")
        return super().forward(x, context)


class TestFailedCells:
    @pytest.mark.parametrize("measure", [SPEED, MEMORY, FLOPS])
    def test_a_cell_that_fails_says_why_and_the_others_are_measured(self, measure: Measure) -> None:
        options = {"min_seconds": 0, "repetitions": 1} if measure is SPEED else {}
        rows = measured(measure, subject_of(OutOfMemoryBeyond), lengths=[16, 17, 8], **options)
        for row in rows:
            assert (row.value is None) == (row.length == 17)
            assert row.detail == ("OutOfMemoryError: no 3 GiB left" if row.length == 17 else None)
        assert [row.length for row in rows] == sorted((row.length for row in rows), key=[16, 17, 8].index)

    def test_a_length_that_the_model_refuses_is_a_reason_too(self) -> None:
        subject = subject_of()

        def build(length: int) -> nn.Module:
            raise ValueError(f"rank must not exceed max_length ({length}), got 64")

        rows = measured(FLOPS, replace(subject, contender=replace(subject.contender, build=build)))
        assert {row.detail for row in rows} == {"ValueError: rank must not exceed max_length (32), got 64"}

    @pytest.mark.parametrize(
        "options",
        [
            {"lengths": []},
            {"lengths": [0]},
            {"phases": ["sleeping"]},
            {"phases": []},
            {"repetitions": 0},
            {"length": 5},
        ],
    )
    def test_options_that_mean_nothing_are_refused_at_once(self, options: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            SPEED.options(**options)


def test_the_hook_registers_the_measures() -> None:
    assert [measure.name for measure in register_measures()] == ["speed", "memory", "flops", "parameters"]
