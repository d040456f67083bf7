"""What a model takes of a budget, and the width that comes nearest to one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from attention_arena.layers import Attention, AttentionOutput, Stack
from attention_arena.study.budgets import BUDGETS, forward_flops, layers_are_alike, nearest
from attention_arena.variant import Backbone, Context, ModelShape, Options, Variant
from tests.core.study.conftest import BOTH, NoOptions
from tests.core.study.toy_budgets import CURIOUS, MIXER, PLAIN, RELATIVE, ExtraOptions


def test_a_linear_count_is_found_by_two_tries() -> None:
    tried: list[int] = []

    def count(d_ff: int) -> int:
        tried.append(d_ff)
        return 500 + 7 * d_ff

    assert nearest(count, 1204, start=10, per_unit=7) == (101, 500 + 7 * 101)
    assert tried == [10, 101]


@pytest.mark.parametrize("target", [200, 900, 12_345])
def test_a_count_that_bends_is_found_too(target: int) -> None:
    def count(d_ff: int) -> int:
        return d_ff**2 + d_ff

    best = min(range(1, 200), key=lambda d_ff: abs(count(d_ff) - target))
    assert nearest(count, target, start=16, per_unit=3) == (best, count(best))


def shape(**changes: Any) -> ModelShape:
    return ModelShape(**{"d_model": 8, "d_ff": 100, "max_length": 50, **changes})


def counted(what: Any, variant: Variant, at: ModelShape, options: Options | None = None, n_sequences: int = 1) -> int:
    return BUDGETS[what].counter(variant, options or variant.options(), at, n_sequences)(at.d_ff)


def test_counts_are_those_worked_out_by_hand() -> None:
    assert counted("parameters", PLAIN, shape()) == 8 * 100 + 50 * 8
    assert counted("parameters", PLAIN, shape(positions="none")) == 8 * 100
    assert counted("parameters", RELATIVE, shape(), ExtraOptions(extra=3)) == 8 * 100 + 3
    assert counted("flops", PLAIN, shape()) == 2 * 50 * 8 * 100
    assert counted("flops", PLAIN, shape(), n_sequences=2) == 2 * 2 * 50 * 8 * 100


@pytest.mark.parametrize("variant", [PLAIN, CURIOUS], ids=lambda variant: variant.name)
def test_a_long_forward_counts_the_same_with_and_without_content(variant: Variant) -> None:
    assert counted("flops", variant, shape(max_length=10_000)) == 2 * 10_000 * 8 * 100


@pytest.mark.parametrize("variant", [PLAIN, MIXER], ids=lambda variant: variant.name)
def test_the_count_at_another_width_is_that_of_a_model_so_wide(variant: Variant) -> None:
    """Whether d_ff works position by position or across them."""
    count = BUDGETS["flops"].counter(variant, NoOptions(), shape(), 1)
    assert count(37) == counted("flops", variant, shape(d_ff=37))


class LayerByLayer(Attention):
    """T x window x D products, 2 FLOPs each, where a layer may have a window of its own."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = window

    def forward(self, x: Tensor, context: Context) -> AttentionOutput:
        weights = x.new_ones(x.shape[1], min(self.window, x.shape[1]))
        return AttentionOutput(weights @ x[:, : weights.shape[1]])


@pytest.mark.parametrize(("windows", "alike"), [((64, 64, 64), True), ((64, 32, 64), False)], ids=["alike", "not"])
@pytest.mark.parametrize("n_sequences", [1, 2])
def test_a_deep_stack_counts_all_its_layers_whether_or_not_they_are_alike(
    windows: tuple[int, ...], alike: bool, n_sequences: int
) -> None:
    """Layers that differ only where an input is long must not be taken for alike."""
    variant = Variant(
        "windows", "-", "-", BOTH, NoOptions, lambda _, at: Stack(at, lambda layer: LayerByLayer(windows[layer]))
    )
    deep = shape(n_layers=3, max_length=200, d_ff=16)
    assert layers_are_alike(variant, NoOptions(), deep) == alike
    expected = n_sequences * 200 * 8 * (2 * sum(windows) + 3 * 4 * 16)
    assert forward_flops(variant, NoOptions(), deep, n_sequences, 200) == expected


def test_options_that_fit_one_depth_alone_are_counted_at_that_depth() -> None:
    """As those are that name a window for each layer."""

    def build(options: Options, at: ModelShape) -> Backbone:
        if at.n_layers != 3:
            raise ValueError(f"windows must be as many as n_layers ({at.n_layers}), got 3")
        return Stack(at, lambda layer: LayerByLayer(64))

    variant = Variant("windows", "-", "-", BOTH, NoOptions, build)
    deep = shape(n_layers=3, max_length=200, d_ff=16)
    assert not layers_are_alike(variant, NoOptions(), deep)
    assert forward_flops(variant, NoOptions(), deep, 1, 200) == 200 * 8 * 3 * (2 * 64 + 4 * 16)


def test_counting_draws_nothing_from_the_callers_generator() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    counted("flops", PLAIN, shape())
    counted("parameters", PLAIN, shape())
    assert torch.equal(torch.rand(1), expected)
