"""The kernel error is 0 at softmax, known where it can be computed, and falls as features are added."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from attention_arena.measure import Measurement, Subject
from attention_arena.variant import ModelShape
from attention_arena_variants.performer import PerformerOptions, build
from attention_arena_variants.performer.attention import PerformerAttention
from attention_arena_variants.performer.diagnostics import OWN, UNIFORM, KernelErrorOptions, measure_kernel_error
from attention_arena_variants.performer.error import (
    Exact,
    attend_exactly,
    errors_of,
    errors_of_features,
    errors_of_uniform,
)
from attention_arena_variants.performer.features import Exponential
from attention_arena_variants.performer.projections import Distribution, draw_sets
from tests.core.measures.diagnostics.probe_toys import LENGTH, Given, subject_over, tokens_of

H, N, E = 2, 48, 16
KERNEL = Exponential(E**-0.25)

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


def heads(spread: float = 0.5) -> tuple[Tensor, Tensor, Tensor]:
    query, key, value = torch.randn(3, H, N, E, generator=torch.Generator().manual_seed(1))
    return spread * query, spread * key, value


def mean_error(distribution: Distribution, m: int, exact: Exact, draws: int = 30) -> float:
    generator = torch.Generator().manual_seed(0)
    found = [
        errors_of_features(KERNEL, draw_sets(1, distribution, m, E, generator), 0.0, exact).matrix for _ in range(draws)
    ]
    return sum(found) / draws


def subject_with(tokens: Tensor, valid: Tensor | None = None, causal: bool = False, **options: Any) -> Subject:
    shape = ModelShape(d_model=8, n_heads=2, n_layers=2, d_ff=16, max_length=LENGTH, causal=causal)
    torch.manual_seed(0)
    backbone = build(PerformerOptions(**({"n_features": 16} | options)), shape)
    return subject_over(Given(tokens, valid), causal=causal, backbone=backbone)


def measured(subject: Subject, **options: Any) -> dict[tuple[str, str, int | None, int | None], Measurement]:
    rows = measure_kernel_error(KernelErrorOptions(**({"features": [8, 64], "redraws": 3} | options)), subject)
    return {(row.measure, row.phase, row.layer, row.position): row for row in rows}


class TestErrors:
    @pytest.mark.parametrize("causal", [False, True])
    def test_softmax_has_none(self, causal: bool) -> None:
        query, key, value = heads()
        exact = attend_exactly(query, key, value, causal)
        assert errors_of(exact.weights, exact) == (0.0, 0.0, 0.0)
        expected = functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
        torch.testing.assert_close((exact.weights @ exact.value).float(), expected)

    def test_weights_on_another_key_are_wholly_wrong(self) -> None:
        weights = torch.eye(2).double().expand(1, 2, 2)
        value = torch.tensor([[[3.0, 0.0], [0.0, 4.0]]]).double()
        exact = Exact(value, value, value, torch.ones(2, 2, dtype=torch.bool), weights)
        found = errors_of(weights.flip(-1), exact)
        # The output's rows swap: each differs by 5 in size, from rows of 3 and 4.
        assert found == pytest.approx((2**0.5, 1.0, 2**0.5))

    @pytest.mark.parametrize("distribution", ["iid", "orthogonal"])
    def test_16_times_the_features_quarter_the_error(self, distribution: Distribution) -> None:
        """At a spread of 0.3, where the variance of a weight is small; larger queries need more to come to this."""
        exact = attend_exactly(*heads(0.3), causal=False)
        assert mean_error(distribution, 32, exact) / mean_error(distribution, 512, exact) == pytest.approx(4, rel=0.1)

    def test_right_angles_lower_it(self) -> None:
        exact = attend_exactly(*heads(), causal=False)
        assert mean_error("orthogonal", 16, exact) < 0.97 * mean_error("iid", 16, exact)

    def test_large_queries_are_estimated_worse_than_by_uniform_weights(self) -> None:
        small, large = (attend_exactly(*heads(spread), causal=False) for spread in (0.3, 3.0))
        assert mean_error("orthogonal", 256, small) < errors_of_uniform(small).matrix
        assert mean_error("orthogonal", 16, large) > errors_of_uniform(large).matrix

    def test_uniform_weights_are_softmax_where_queries_are_zero(self) -> None:
        query, key, value = heads()
        found = errors_of_uniform(attend_exactly(0 * query, key, value, causal=True))
        assert found == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)


class TestRows:
    def test_every_layer_has_each_draw_its_own_and_none(self) -> None:
        rows = measured(subject_with(tokens_of(3, LENGTH)))
        cells = [(name, m) for name in ("orthogonal", "iid") for m in (8, 64)] + [(OWN, 16), (UNIFORM, None)]
        names = ("kernel_error_matrix", "kernel_error_variation", "kernel_error_output")
        assert set(rows) == {(name, phase, layer, m) for name in names for phase, m in cells for layer in (0, 1)}
        assert {row.samples for row in rows.values() if row.phase == "iid"} == {3}
        assert all(row.low is not None for row in rows.values() if row.phase == "iid")

    def test_its_own_directions_are_those_it_attends_with(self) -> None:
        tokens = tokens_of(1, LENGTH)
        subject = subject_with(tokens, causal=True)
        rows = measured(subject, examples=1)
        attention = next(layer for layer in subject.trained.modules() if isinstance(layer, PerformerAttention))
        model = subject.trained
        with torch.no_grad():
            x = model.get_submodule("positions")(model.get_submodule("embedding")(tokens))
            x = model.get_submodule("backbone.blocks.0.attention_norm")(x)
            query, key, value = attention.heads(x)
            exact = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
            found = attention.attend_by(query, key, value, None, attention.directions.current)
        size = (found - exact).square().sum((2, 3)).sqrt() / exact.square().sum((2, 3)).sqrt()
        assert rows["kernel_error_output", OWN, 0, 16].value == pytest.approx(float(size.mean()))

    def test_padding_changes_nothing(self) -> None:
        tokens = tokens_of(2, LENGTH)
        short = measured(subject_with(tokens[:, :7]), examples=2)
        padded = measured(subject_with(tokens, torch.arange(LENGTH).expand(2, -1) < 7), examples=2)
        assert {key: row.value for key, row in padded.items()} == pytest.approx(
            {key: row.value for key, row in short.items()}
        )

    def test_a_kernel_of_its_own_has_no_error(self) -> None:
        [row] = measure_kernel_error(KernelErrorOptions(), subject_with(tokens_of(1, LENGTH), kernel="relu"))
        assert (row.status, row.value) == ("unsupported", None)
        assert row.detail == "these features define a kernel of their own and estimate no softmax; set kernel: positive"
