"""What a layer of Transformer-XL costs by formula, against what is counted."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from attention_arena.measures import saved_for_backward
from attention_arena.testing.formula import SIZES, count_layer
from attention_arena.testing.trial import trials
from attention_arena.variant import Context, ModelShape
from attention_arena_variants.transformer_xl import TRANSFORMER_XL, TransformerXLOptions, build, cost
from attention_arena_variants.transformer_xl.tiles import tile_size, work_type

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


@pytest.mark.parametrize("length", [1, 40, 299])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"segment_length": 64, "memory": 40},
        {"segment_length": 64, "memory": 0},
        {"segment_length": 64, "memory": 100, "same_length": True},
        {"segment_length": 150, "memory": 130, "attention_dropout": 0.1},
        {"segment_length": 64, "encoding": "rel_shaw"},
        {"segment_length": 64, "encoding": "abs"},
    ],
    ids=str,
)
def test_the_formula_is_what_is_counted(options: dict[str, Any], length: int) -> None:
    """FLOPs exactly. Bytes to 2 % and 1000: the statistics of the norm of memory, and the places of learned vectors."""
    chosen = TransformerXLOptions(**options)
    for trial in trials(TRANSFORMER_XL, chosen, **SIZES, max_length=300):
        found, stated = count_layer(trial, length), cost(chosen, trial.shape, length)
        assert stated.flops == found.flops
        assert stated.saved_bytes == pytest.approx(found.saved_bytes, rel=0.02, abs=1000)


def test_the_formula_is_that_of_a_cpu_wherever_it_is_asked_for() -> None:
    chosen = TransformerXLOptions(segment_length=300, memory=200)
    shape = ModelShape(d_model=64, n_heads=2, n_layers=1, max_length=900, causal=True)
    expected = cost(chosen, shape, 900)
    with torch.device("meta"):
        assert cost(chosen, shape, 900) == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_shapes_alone_are_cut_as_on_a_cpu(dtype: torch.dtype) -> None:
    """Otherwise what is counted on `meta` would not be what a CPU computes."""
    on_cpu, on_meta = (torch.empty(0, dtype=dtype, device=device) for device in ("cpu", "meta"))
    assert tile_size(on_meta) == tile_size(on_cpu)
    assert work_type(on_meta) == work_type(on_cpu)


def test_a_layer_keeps_no_scores_for_backward() -> None:
    """At 1024 tokens one matrix of scores has 4 MiB; what is kept grows with the length alone."""
    shape = ModelShape(d_model=8, n_heads=2, n_layers=1, d_ff=8, max_length=1024, causal=True)
    stack = build(TransformerXLOptions(), shape).train()
    kept = [
        saved_for_backward(partial(stack, torch.randn(1, n, 8), Context()), stack.parameters()) for n in (512, 1024)
    ]
    assert kept[1] < 1024 * 1024
    assert 1.8 < kept[1] / kept[0] < 2.2
