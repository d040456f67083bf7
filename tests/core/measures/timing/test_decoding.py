"""Decoding is timed where it is said to be: a step at a context, by a model that steps."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from attention_arena.layers import Attention, AttentionOutput
from attention_arena.measure import Measurement
from attention_arena.measures import DECODING
from attention_arena.measures.timing.decoding import N_TIMED, Decoder
from attention_arena.measures.timing.stopwatch import CLOCKS
from attention_arena.objectives import Classification
from attention_arena.variant import Capability, Context
from tests.core.measures.toys import Nothing, contender_of, measured, subject_of

QUICK = {"min_seconds": 0.0, "repetitions": 1}


class Remembering(Nothing):
    """Attention whose state is every hidden state so far."""

    def step(self, x: Tensor, context: Context) -> AttentionOutput:
        before = context.state
        return AttentionOutput(torch.zeros_like(x), x if before is None else torch.cat([before, x], dim=1))


def rows_of(attention: type[Attention] = Remembering, baseline: Any = None, **options: Any) -> Sequence[Measurement]:
    return measured(DECODING, subject_of(attention, baseline=baseline), **QUICK | options)


class TestRows:
    def test_there_are_time_ratio_and_state_at_each_length(self) -> None:
        rows = rows_of(baseline=Nothing, lengths=[4, 40], batch_size=2)
        assert [(row.length, row.measure, row.unit) for row in rows] == [
            (length, measure, unit)
            for length in (4, 40)
            for measure, unit in (("decoding_time", "ms"), ("decoding_ratio", "×"), ("decoding_state", "bytes"))
        ]
        assert {(row.phase, row.batch_size, row.status, row.higher_is_better) for row in rows} == {
            ("decoding", 2, "done", False)
        }

    def test_a_run_without_baseline_has_no_ratio(self) -> None:
        assert [row.measure for row in rows_of()] == ["decoding_time", "decoding_state"]

    @pytest.mark.parametrize(("length", "batch_size"), [(1, 1), (16, 1), (50, 3)])
    def test_the_state_holds_every_token_of_the_context_and_no_more(self, length: int, batch_size: int) -> None:
        state = rows_of(lengths=[length], batch_size=batch_size)[-1]
        assert state.value == batch_size * length * 8 * 4

    def test_attention_that_keeps_nothing_has_no_state(self) -> None:
        assert rows_of(Nothing)[-1].value == 0

    def test_the_time_is_that_of_one_step(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = [0.0]

        class Slow(Nothing):
            def step(self, x: Tensor, context: Context) -> AttentionOutput:
                now[0] += 0.003
                return super().step(x, context)

        monkeypatch.setitem(CLOCKS, "wall", lambda: now[0])
        time, ratio, _ = rows_of(Slow, baseline=Slow, lengths=[8])
        assert (time.value, ratio.value) == pytest.approx((3.0, 1.0))


class TestDecoder:
    def test_every_call_steps_on_from_the_same_state(self) -> None:
        lengths: list[int] = []

        class Counting(Remembering):
            def step(self, x: Tensor, context: Context) -> AttentionOutput:
                output = super().step(x, context)
                assert output.state is not None
                lengths.append(output.state.shape[1])
                return output

        decoder = Decoder(subject_of(Counting), 1, 20, 60.0)
        assert lengths == list(range(1, 21))
        for _ in range(2):
            lengths.clear()
            decoder()
            assert lengths == list(range(21, 21 + N_TIMED))

    def test_it_evaluates_without_a_graph(self) -> None:
        decoder = Decoder(subject_of(Remembering), 1, 3, 60.0)
        assert not decoder.model.training
        after = decoder()
        assert after is not None
        assert after.length == 3 + N_TIMED
        assert not after.backbone[0].requires_grad  # type: ignore[index]


class TestUnsupported:
    def test_a_variant_that_does_not_step_says_so(self) -> None:
        supports = frozenset(Capability) - {Capability.STEPWISE}
        rows = measured(DECODING, subject_of(supports=supports), **QUICK)
        reasons = {(row.value, row.status, row.detail) for row in rows}
        assert reasons == {(None, "unsupported", "nothing does not decode step by step")}

    def test_a_task_that_does_not_predict_the_next_token_has_nothing_to_decode(self) -> None:
        rows = measured(DECODING, subject_of(objective=Classification(2)), **QUICK)
        assert {row.status for row in rows} == {"unsupported"}
        assert all("does not predict the next token" in (row.detail or "") for row in rows)

    def test_a_baseline_that_does_not_step_leaves_the_variants_own_time(self) -> None:
        subject = subject_of(Remembering)
        supports = frozenset(Capability) - {Capability.STEPWISE}
        baseline = contender_of(Nothing, subject.data.objective, "linformer", supports)
        time, ratio, state = measured(DECODING, replace(subject, baseline=baseline), **QUICK)
        assert (time.status, state.status) == ("done", "done")
        assert (ratio.value, ratio.status) == (None, "unsupported")
        assert ratio.detail == "linformer, the baseline: linformer does not decode step by step"

    def test_a_context_that_takes_too_long_is_a_timeout_and_so_are_longer_ones(self) -> None:
        rows = rows_of(lengths=[64, 128], max_seconds=1e-6)
        assert {row.status for row in rows} == {"timeout"}
        assert "the first 16 tokens took" in (rows[0].detail or "")
        assert "not tried, because 64 tokens gave timeout" in (rows[-1].detail or "")
