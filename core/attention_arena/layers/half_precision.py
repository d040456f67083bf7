"""Half precision on processors without units for it: numbers of 16 bits, products in float32.

A product of two bfloat16 or two float16 numbers is exact in float32, and native kernels sum such products in float32
too. So operands of half precision, multiplied in float32 and rounded once at the end, give what native products give,
up to the order of sums. Where a processor has no units for half precision its own products take about twice as long.

Rounding and widening cost passes through memory, though. So under autocast a layer passes on float32, unrounded, and
half precision is what backward keeps. Where backward takes scores of rounded operands relative to the mass of unrounded
ones, gradients are nearer than native ones for scores of order 1, and up to 2.5 times as far off for scores of order 6.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

from attention_arena.layers.scratch import processor_of

HALVES = (torch.bfloat16, torch.float16)

NUMBERS_AT_ONCE = 2**20
"""Numbers that are widened at a time: 4 MiB in float32, near enough to a core's cache, and enough for full speed."""


def has_fast_products(dtype: torch.dtype, device: torch.device) -> bool:
    """Return whether products of half precision `dtype` are at least as fast as float32's on a device.

    On x86 processors that takes AMX units for the type; float16 is also fast with AVX512-FP16. Other processors and
    devices are trusted. `meta` stands for this machine's processor.
    """
    if processor_of(device) != "cpu" or platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    return dtype in _multiplied_fast()


@cache
def _multiplied_fast() -> frozenset[torch.dtype]:
    """Return the half precisions that this x86 processor multiplies fast, as far as PyTorch can tell."""
    found: Mapping[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    asked = getattr(torch.cpu, "_is_amx_tile_supported", bool)
    fast = {
        torch.bfloat16: found["amx_bf16"] if "amx_bf16" in found else asked(),
        torch.float16: found.get("amx_fp16", False) or found.get("avx512_fp16", False),
    }
    return frozenset(dtype for dtype, is_fast in fast.items() if is_fast)


def kept_type(x: Tensor, ctx: Any) -> torch.dtype:
    """Return the type in which the autograd function of `ctx` keeps tensors like `x` for backward.

    That of autocast where float32 stands in for it, if there will be a backward; else the tensor's own.
    """
    half = slow_half(x) if any(ctx.needs_input_grad) else None
    return x.dtype if half is None else half


def kept_of(x: Tensor) -> Tensor | None:
    """Return what products of `x` shall keep of it for backward, so that several keep one copy: `lower(x)`.

    None where none keeps or multiplies it.
    """
    return lower(x) if torch.is_grad_enabled() or slow_half(x) is None else None


def lower(x: Tensor) -> Tensor:
    """Return `x` in the type of autocast where it is on; float64 stays, as autocast itself leaves it."""
    half = _autocast_type(x)
    return x if half is None or x.dtype == torch.float64 else x.to(half)


def slow_half(*tensors: Tensor) -> torch.dtype | None:
    """Return the half precision that a product of floating `tensors` has here, if float32 is to compute it.

    None where PyTorch's own product serves: in float32 and float64, on devices with fast products, and for types that
    it refuses.
    """
    half, types = _autocast_type(tensors[0]), {x.dtype for x in tensors}
    if half is None:
        half = tensors[0].dtype
        allowed = {half}
    else:
        allowed = {torch.float32, *HALVES}
    if half not in HALVES or not types <= allowed or has_fast_products(half, tensors[0].device):
        return None
    return half


def widened(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return `x` in `dtype` where that is a small copy; else as it is, and what reads it in parts converts these."""
    return x.to(dtype) if x.numel() <= NUMBERS_AT_ONCE else x


def sections(n_rows: int, width: int) -> Iterator[slice]:
    """Yield slices of `n_rows` rows, all but the last alike, of about `NUMBERS_AT_ONCE` numbers at `width` a row."""
    n_sections = max(1, -(-n_rows * width // NUMBERS_AT_ONCE))
    size = max(1, -(-n_rows // n_sections))
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def _autocast_type(x: Tensor) -> torch.dtype | None:
    device = x.device.type
    # Autocast knows no `meta`, and leaves tensors on it as they are.
    if device == "meta" or not torch.is_autocast_enabled(device):
        return None
    return torch.get_autocast_dtype(device)
