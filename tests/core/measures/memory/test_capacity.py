"""The largest batch and length are those that the bytes of a known layer allow."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from attention_arena.layers import AttentionOutput
from attention_arena.measure import Answer, Measurement, Subject
from attention_arena.measures.memory.capacity import CAPACITY
from attention_arena.runs.apart import FreshProcesses
from attention_arena.variant import Context
from tests.core.measures.toys import LENGTH, MIB, Nothing, OutOfMemoryBeyond, measured, subject_of

BUDGET_MIB = 96


class Keeping(torch.autograd.Function):
    """The identity, which keeps so many bytes of each token for backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, n_bytes: int) -> Tensor:
        ctx.save_for_backward(torch.zeros(x.shape[0] * x.shape[1] * n_bytes, dtype=torch.uint8))
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return grads[0], None


class KeepingByToken(Nothing):
    """Attention that keeps 64 KiB of each token."""

    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        return AttentionOutput(Keeping.apply(super().forward(x, context).hidden + x, MIB // 16))


@pytest.fixture(scope="module")
def subject() -> Iterator[Subject]:
    fresh = FreshProcesses.start(lambda: subject_of(KeepingByToken), threads=1, memory=None)
    if fresh is None:
        pytest.skip("the system has no fresh processes")
    with fresh:
        yield replace(subject_of(KeepingByToken), apart=fresh)


def capacity(subject: Subject, what: str, **options: Any) -> Measurement:
    (row,) = measured(CAPACITY, subject, what=[what], **{"budget_gib": BUDGET_MIB / 1024, **options})
    return row


class TestCapacity:
    def test_the_largest_batch_is_the_budget_over_the_bytes_of_a_sequence(self, subject: Subject) -> None:
        row = capacity(subject, "batch", lengths=[16])
        # 16 tokens keep 1 MiB; the rest of the model is small beside it.
        assert row.value is not None
        assert 0.9 * BUDGET_MIB <= row.value <= BUDGET_MIB
        assert (row.measure, row.phase, row.length, row.unit) == ("largest_batch", "training", 16, "sequences")
        assert row.detail == f"0.09375 GiB: {row.value:,.0f} fits, {int(row.detail.split()[-3]):,} does not"  # type: ignore[union-attr]

    def test_the_largest_length_is_the_budget_over_the_bytes_of_a_token(self, subject: Subject) -> None:
        row = capacity(subject, "length")
        assert row.value is not None
        assert 0.9 * 16 * BUDGET_MIB <= row.value <= 16 * BUDGET_MIB
        assert (row.measure, row.batch_size, row.unit, row.length) == ("largest_length", 1, "tokens", None)

    def test_inference_has_a_limit_of_its_own(self, subject: Subject) -> None:
        row = capacity(subject, "batch", lengths=[16], phases=["inference"], budget_gib=32 / 1024)
        # The layer makes the tensor that it would keep, and drops it at once.
        assert row.phase == "inference"
        assert row.value is not None
        assert 0.8 * 32 <= row.value <= 32

    def test_an_attempt_that_takes_too_long_ends_the_search(self, subject: Subject) -> None:
        def apart(function: Any, arguments: Any, seconds: float | None) -> Answer:
            if arguments["batch_size"] > 1:
                return Answer("timeout", detail=f"took more than {seconds:g} s")
            return Answer("done", MIB)

        row = capacity(replace(subject, apart=apart), "batch", max_seconds=7)
        assert (row.value, row.status, row.samples) == (None, "timeout", 0)
        assert row.detail == "0.09375 GiB: 1 fits; at 4: took more than 7 s (2 attempts)"

    def test_a_budget_beyond_what_the_run_may_hold_is_refused(self, subject: Subject) -> None:
        row = capacity(subject, "batch", budget_gib=1e6)
        assert row.status == "failed"
        assert "raise limits.memory_gib" in (row.detail or "")

    def test_where_not_even_one_sequence_fits_it_is_out_of_memory(self) -> None:
        row = capacity(subject_of(OutOfMemoryBeyond), "batch", lengths=[LENGTH])
        assert (row.value, row.status) == (None, "oom")
        assert row.detail == "0.09375 GiB: not even 1 fits (1 attempts)"

    @pytest.mark.parametrize(
        "options",
        [{"budget_gib": 0}, {"what": []}, {"what": ["depth"]}, {"resolution": 1}, {"max_attempts": 0}, {"phases": []}],
        ids=["no budget", "nothing", "depth", "resolution", "no attempt", "no phase"],
    )
    def test_options_that_mean_nothing_are_refused_at_once(self, options: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            CAPACITY.options(**options)
