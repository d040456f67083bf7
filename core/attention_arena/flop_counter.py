"""Count the FLOPs of whatever a function computes; below the study, which matches budgets, and the measures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._ops import OpOverload
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, shape_wrapper

Size = Sequence[int]


def count_flops(function: Callable[[], object]) -> int:
    """Return the FLOPs of all matrix products and convolutions that `function` performs, its backward included.

    A product under a mask counts in full; elementwise work, softmax and sorting count nothing. Fused attention runs as
    its plain formula while it is counted, because PyTorch's counter reads 0 for the fused kernel of a CPU; so the
    n x n matrix exists here, whatever the kernel, unless the tensors are on the meta device.
    """
    counter = _Counter()
    with sdpa_kernel(SDPBackend.MATH), counter:
        function()
    return counter.total


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the FLOPs of operators as they are dispatched, by PyTorch's own formulas.

    In place of `FlopCounterMode`, whose account by module takes longer than small operators do, and whose hooks refuse
    a backward that asks for gradients of leaves, as that of a reversible stack does.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not isinstance(func, OpOverload):
            return NotImplemented
        if func not in _ELEMENTARY:
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
            _ELEMENTARY.add(func)
        out = func(*args, **kwargs)
        formula = _FORMULAS.get(func.overloadpacket)
        if formula is not None:
            self.total += int(formula(*args, **kwargs, out_val=out))
        return out


_ELEMENTARY: set[OpOverload] = {torch.ops.prim.device.default}
"""Operators that are known not to be made of others."""


def _forward_flops(query: Size, key: Size, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return 2 * 2 * math.prod(query[:3]) * key[2] * query[3]


def _backward_flops(grad: Size, query: Size, key: Size, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return 5 * 2 * math.prod(query[:3]) * key[2] * query[3]


_FORMULAS: dict[Any, Callable[..., Any]] = {
    **flop_registry,
    **{
        operator: shape_wrapper(flops)  # type: ignore[no-untyped-call]
        for name, flops in (("", _forward_flops), ("_backward", _backward_flops))
        if (operator := getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu" + name, None))
    },
}
"""PyTorch's, and those of operators that variants call directly, under what `sdpa_kernel` rules: 2 products forward, 5
backward."""
