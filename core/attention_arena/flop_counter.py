"""Count the FLOPs of whatever a function computes; below the study, which matches budgets, and the measures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

Size = Sequence[int]


def count_flops(function: Callable[[], object]) -> int:
    """Return the FLOPs of all matrix products and convolutions that `function` performs, its backward included.

    A product under a mask counts in full; elementwise work, softmax and sorting count nothing. Fused attention runs as
    its plain formula while it is counted, because PyTorch's counter reads 0 for the fused kernel of a CPU; so the
    n x n matrix exists here, whatever the kernel, unless the tensors are on the meta device.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_DIRECT)
    counter.mod_tracker = cast(Any, _Everything())
    with sdpa_kernel(SDPBackend.MATH), counter:
        function()
    return int(counter.get_total_flops())


class _Everything:
    """In place of PyTorch's account by module, whose hooks refuse a backward that asks for gradients of leaves.

    That of a reversible stack does.
    """

    parents = frozenset({"Global"})

    def __enter__(self) -> None: ...

    def __exit__(self, *exception: object) -> None: ...


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
