"""What a backbone refuses: hidden states, masks and states that do not fit the shape it was built for.

All of it is read off shapes, dtypes and devices; nothing waits for a GPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from attention_arena.variant import Context, ModelShape


def require_input(x: Tensor, context: Context, shape: ModelShape, module: nn.Module, *, max_length: int | None) -> None:
    """Raise ValueError unless `x` (B, T, D) and the masks of `context` fit `shape` and `module`'s parameters.

    Masks are bool, on the device of `x`: `valid` and `landmarks` (B, T), `resumes` (B,). `max_length` bounds T; None
    leaves it open. Under autocast `x` may have any floating type but float64, which autocast does not convert.
    """
    _require_hidden(x, shape.d_model, max_length)
    for name, expected in (("valid", x.shape[:2]), ("landmarks", x.shape[:2]), ("resumes", x.shape[:1])):
        _require_mask(name, getattr(context, name), tuple(expected), x.device)
    weight = next(module.parameters(), None)
    if weight is not None:
        _require_like_weights(x, weight)


def require_step(x: Tensor, position: int, n_rows: int | None, *, max_length: int) -> None:
    """Raise ValueError unless the tokens `x` (B, 1, D) may stand at `position`, after a state of `n_rows` rows.

    `n_rows` is None where there is no state yet. Positions count from 0, and `max_length` bounds them as it bounds the
    pass over all tokens that steps are equal to.
    """
    if n_rows is not None and n_rows != len(x):
        raise ValueError(f"the state has {n_rows} rows, the step {len(x)}; start without state")
    if position >= max_length:
        raise ValueError(
            f"position {position} of a step must be below max_length ({max_length}); build the model for longer"
            " sequences"
        )


def _require_hidden(x: Any, d_model: int, max_length: int | None) -> None:
    if not isinstance(x, Tensor):
        raise ValueError(
            f"hidden states must be a tensor (B, T, {d_model}), got {type(x).__name__}; convert it by torch.as_tensor"
        )
    found = tuple(x.shape)
    if x.dim() != 3 or x.shape[-1] != d_model:
        raise ValueError(f"hidden states must be (B, T, {d_model}), got {found}")
    if not x.numel():
        raise ValueError(f"hidden states must be (B, T, {d_model}) with B and T of at least 1, got {found}")
    if max_length is not None and x.shape[1] > max_length:
        raise ValueError(
            f"hidden states must be (B, T, {d_model}) with T up to max_length ({max_length}), got {found};"
            " build the model for longer sequences"
        )


def _require_mask(name: str, mask: Any, expected: tuple[int, ...], device: torch.device) -> None:
    if mask is None:
        return
    if not isinstance(mask, Tensor):
        raise ValueError(f"{name} must be a bool tensor of shape {expected}, got {type(mask).__name__}")
    if tuple(mask.shape) != expected or mask.dtype != torch.bool:
        raise ValueError(f"{name} must be bool of shape {expected}, got {mask.dtype} of shape {tuple(mask.shape)}")
    if mask.device != device:
        raise ValueError(f"{name} is on {mask.device}, the hidden states on {device}; move one of them")


def _require_like_weights(x: Tensor, weight: Tensor) -> None:
    found = tuple(x.shape)
    if x.device != weight.device:
        raise ValueError(f"hidden states {found} are on {x.device}, the model on {weight.device}; move one of them")
    if x.dtype == weight.dtype:
        return
    if x.is_floating_point() and _autocasts(x.device) and torch.float64 not in (x.dtype, weight.dtype):
        return
    raise ValueError(f"hidden states {found} are {x.dtype}, the weights {weight.dtype}; convert one of them")


def _autocasts(device: torch.device) -> bool:
    return torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)
