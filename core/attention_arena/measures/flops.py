"""FLOPs of the matrix products of one pass, 2 for each multiply-add."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from pydantic import Field
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from attention_arena.measure import Measure, Measurement, Subject
from attention_arena.measures.passes import Lengths, Passes, rows_or_reason
from attention_arena.variant import Options

Size = Sequence[int]


def count_flops(function: Callable[[], object]) -> int:
    """Return the FLOPs of all matrix products and convolutions that `function` performs, its backward included.

    A product under a mask counts in full; elementwise work, softmax and sorting count nothing. Fused attention runs as
    its plain formula while it is counted, because PyTorch's counter reads 0 for the fused kernel of a CPU; so the
    n x n matrix exists here, whatever the kernel.
    """
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, custom_mapping=_DIRECT) as counter:
        function()
    return int(counter.get_total_flops())


def _forward_flops(query: Size, key: Size, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return 2 * 2 * math.prod(query[:3]) * key[2] * query[3]


def _backward_flops(grad: Size, query: Size, key: Size, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return 5 * 2 * math.prod(query[:3]) * key[2] * query[3]


_DIRECT = {
    operator: flops
    for name, flops in (("", _forward_flops), ("_backward", _backward_flops))
    if (operator := getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu" + name, None))
}
"""Operators that variants call directly, under what `sdpa_kernel` rules: 2 products forward, 5 backward."""


class FlopsOptions(Options):
    """Options of the FLOPs measure."""

    lengths: Lengths = Field(None, description="tokens in a sequence; null measures the task's own length")


def measure_flops(options: FlopsOptions, subject: Subject) -> Sequence[Measurement]:
    """Return FLOPs per token of inference, and of forward and backward in training, at each length."""
    rows: list[Measurement] = []
    for length in options.lengths or [subject.length]:
        blank = [
            Measurement("flops_per_token", phase, None, "FLOPs", length, batch_size=1, higher_is_better=False)
            for phase in ("inference", "training")
        ]
        rows += rows_or_reason(blank, partial(_count, subject, blank))
    return rows


def _count(subject: Subject, blank: Sequence[Measurement]) -> Sequence[Measurement]:
    passes = Passes.of(subject, blank[0])
    functions = {"inference": passes.inference, "training": passes.backward}
    return [row._replace(value=count_flops(functions[row.phase]) / passes.n_tokens) for row in blank]


FLOPS = Measure(
    name="flops",
    summary="FLOPs per token of matrix products, counted: inference, and forward and backward in training",
    options=FlopsOptions,
    run=measure_flops,
)
