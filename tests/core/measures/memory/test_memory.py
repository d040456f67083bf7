"""Bytes are those that are known beforehand: kept for backward, at the peak, and held from step to step."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attention_arena.allocator import return_what_is_freed
from attention_arena.layers import Attention, AttentionOutput, HeadAttention
from attention_arena.measure import Answer, Measurement, Subject
from attention_arena.measures import MEMORY, peak_memory, saved_for_backward
from attention_arena.measures.memory.counting import storage_bytes, tensors_in
from attention_arena.measures.memory.footprint import HELD
from attention_arena.measures.memory.resident import _sampled_growth, resident_growth
from attention_arena.runs.apart import FreshProcesses
from attention_arena.variant import Context, ModelSettings, ModelShape
from tests.core.measures.toys import CPU, LENGTH, MIB, SETTINGS, Nothing, OutOfMemoryBeyond, measured, subject_of


class Keeping(torch.autograd.Function):
    """The identity, which keeps a tensor of so many bytes for backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, n_bytes: int) -> Tensor:
        ctx.save_for_backward(torch.zeros(n_bytes, dtype=torch.uint8))
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return grads[0], None


class KeepingMib(Nothing):
    """Attention that keeps so many mebibytes for backward."""

    def __init__(self, n_mib: int) -> None:
        super().__init__()
        self.n_mib = n_mib

    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        return AttentionOutput(Keeping.apply(super().forward(x, context).hidden + x, self.n_mib * MIB))


class Fused(HeadAttention):
    """Softmax attention by PyTorch's kernel."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        return nn.functional.scaled_dot_product_attention(query, key, value)


class Naive(HeadAttention):
    """Softmax attention that holds all weights."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, context: Context) -> Tensor:
        return (query @ key.transpose(2, 3)).softmax(dim=-1) @ value


class Remembering(Nothing):
    """Attention whose state is the second half of what it was given."""

    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        return AttentionOutput(torch.zeros_like(x), state={"late": x[:, x.shape[1] // 2 :].detach().clone()})


@pytest.fixture
def apart() -> Iterator[Callable[[Callable[[], Attention]], Subject]]:
    """Return a maker of subjects that run functions in fresh processes, where the system has them."""
    started: list[FreshProcesses] = []

    def subject(attention: Callable[[], Attention], settings: ModelSettings = SETTINGS) -> Subject:
        fresh = FreshProcesses.start(lambda: subject_of(attention, settings=settings), threads=1, memory=None)
        started.extend([fresh] if fresh else [])
        return replace(subject_of(attention, settings=settings), apart=fresh)

    yield subject
    for fresh in started:
        fresh.close()


def values(rows: list[Measurement] | Any) -> dict[tuple[str, str], float]:
    return {(row.measure, row.phase): row.value for row in rows}


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


class TestTensors:
    def test_they_are_found_however_deep(self) -> None:
        first, second, third = (torch.zeros(n) for n in (1, 2, 3))
        shape = ModelShape(max_length=4)
        found = tensors_in([first, {"a": (second, None, 4, shape)}, Measurement("m", "p", None, "u"), [third]])
        assert [len(tensor) for tensor in found] == [1, 2, 3]

    def test_views_of_one_storage_count_once_and_whole(self) -> None:
        whole = torch.zeros(100)
        assert storage_bytes([whole[:10], whole[50:], torch.zeros(5)]) == 420


def growth(subject: Subject, n_mib: int, watch: Callable[[Callable[[], object]], int]) -> int:
    return_what_is_freed()
    return watch(lambda: torch.ones(n_mib * MIB, dtype=torch.uint8))


class TestResidentGrowth:
    def test_a_peak_is_seen_however_short(self, apart: Callable[..., Subject]) -> None:
        subject = apart(Nothing)
        if subject.apart is None:
            pytest.skip("the system has no fresh processes")
        answer = subject.apart(growth, {"n_mib": 64, "watch": resident_growth}, None)
        assert answer.value == pytest.approx(64 * MIB, rel=0.02)

    def test_readings_serve_where_the_system_keeps_no_peak(self) -> None:
        block: list[Tensor] = []

        def hold() -> None:
            block.append(torch.ones(64 * MIB, dtype=torch.uint8))
            time.sleep(0.05)

        assert _sampled_growth(hold) == pytest.approx(64 * MIB, rel=0.2)

    def test_the_peak_of_the_process_is_at_least_its_present_size(self) -> None:
        assert peak_memory(CPU) > 50 * MIB


class TestRows:
    def test_a_layer_that_keeps_64_mib_adds_that_to_what_is_kept_and_to_the_peak(
        self, apart: Callable[..., Subject]
    ) -> None:
        without, keeping = (values(measured(MEMORY, apart(make))) for make in (Nothing, keeping_64))
        for name in ("saved_for_backward", "peak_resident"):
            added = keeping[name, "training"] - without[name, "training"]
            assert added == pytest.approx(64 * MIB, rel=0.02), name

    def test_each_row_says_what_it_is_of(self) -> None:
        rows = measured(MEMORY, subject_of(), lengths=[16], tokens_per_step=64)
        assert [(row.measure, row.phase, row.length, row.batch_size) for row in rows] == [
            ("peak_resident", "inference", 16, 4),
            ("state_bytes", "inference", 16, 1),
            ("saved_for_backward", "training", 16, 4),
            ("peak_resident", "training", 16, 4),
            ("parameter_memory", "training", 16, 4),
            ("gradient_memory", "training", 16, 4),
            ("optimizer_memory", "training", 16, 4),
        ]
        assert {(row.unit, row.status, row.higher_is_better) for row in rows} == {("bytes", "done", False)}

    def test_parameters_gradients_and_optimiser_are_apart(self) -> None:
        subject = subject_of(lambda: Fused(ModelShape(**SETTINGS.model_dump(), max_length=LENGTH)))
        found = values(measured(MEMORY, subject, phases=["training"]))
        parameters = list(subject.trained.parameters())
        numbers = sum(parameter.numel() for parameter in parameters)
        assert found["parameter_memory", "training"] == 4 * numbers
        assert found["gradient_memory", "training"] == 4 * numbers
        # Two moments for each number, and the count of steps for each parameter.
        assert found["optimizer_memory", "training"] == 2 * 4 * numbers + 4 * len(parameters)

    def test_the_state_of_one_sequence_counts(self) -> None:
        found = values(measured(MEMORY, subject_of(Remembering), phases=["inference"]))
        assert found["state_bytes", "inference"] == LENGTH // 2 * SETTINGS.d_model * 4
        assert values(measured(MEMORY, subject_of()))["state_bytes", "inference"] == 0

    def test_the_batch_is_the_runs_own_unless_tokens_are_given(self) -> None:
        rows = measured(MEMORY, subject_of(), phases=["training"])
        assert {row.batch_size for row in rows} == {subject_of().batch_size}

    @pytest.mark.parametrize(("kind", "exponent"), [(Fused, 1), (Naive, 2)], ids=["fused", "naive"])
    def test_fused_attention_is_linear_in_length_and_naive_quadratic(
        self, apart: Callable[..., Subject], kind: Callable[[ModelShape], Attention], exponent: int
    ) -> None:
        settings = ModelSettings(d_model=64, n_heads=2, n_layers=1, d_ff=64)
        subject = apart(lambda: kind(ModelShape(**settings.model_dump(), max_length=4096)), settings)
        rows = measured(MEMORY, subject, lengths=[2048, 4096], tokens_per_step=1, phases=["training"])
        for name in ("saved_for_backward", "peak_resident"):
            short, long = (row.value or 0 for row in rows if row.measure == name)
            assert math.log2(long / short) == pytest.approx(exponent, abs=0.15), name

    def test_a_length_beyond_memory_is_a_row_with_its_reason(self) -> None:
        rows = measured(MEMORY, subject_of(OutOfMemoryBeyond), lengths=[16, 17, 8])
        for row in rows:
            if row.length != 17:
                assert (row.value is None, row.status, row.detail) == (False, "done", None)
            elif row.measure not in HELD:
                assert (row.value, row.status, row.detail) == (None, "oom", "OutOfMemoryError: no 3 GiB left")

    @pytest.mark.parametrize("status", ["oom", "timeout"])
    def test_what_a_model_holds_from_step_to_step_is_known_where_the_step_is_not(self, status: Any) -> None:
        """As much as where the step fits, for the same length."""

        def apart(function: Any, arguments: Any, seconds: float | None) -> Answer:
            return Answer(status, detail="too large") if "batch_size" in arguments else attempt(function, arguments)

        def attempt(function: Any, arguments: Any) -> Answer:
            return Answer("done", function(subject_of(Remembering), **arguments))

        fits = measured(MEMORY, subject_of(Remembering))
        rows = measured(MEMORY, replace(subject_of(Remembering), apart=apart))
        kept = (*HELD, "state_bytes")
        assert [row.value for row in rows] == [row.value if row.measure in kept else None for row in fits]
        assert {row.detail for row in rows if row.measure in kept} == {f"told by a smaller batch; this one: {status}"}
        assert {(row.status, row.detail) for row in rows if row.measure not in kept} == {(status, "too large")}

    def test_a_variant_that_does_not_fit_is_not_tried_again(self) -> None:
        tries: list[Any] = []

        def apart(function: Any, arguments: Any, seconds: float | None) -> Answer:
            tries.append(function)
            return Answer("unsupported", detail="rank must not exceed max_length")

        rows = measured(MEMORY, replace(subject_of(), apart=apart))
        assert {row.status for row in rows} == {"unsupported"}
        assert len(tries) == 2


def keeping_64() -> Attention:
    return KeepingMib(64)
