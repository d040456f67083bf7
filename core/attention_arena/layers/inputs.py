"""What a backbone refuses: hidden states and masks that do not fit the shape it was built for."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attention_arena.variant import Context, ModelShape


def require_input(x: Tensor, context: Context, shape: ModelShape, module: nn.Module, *, max_length: int | None) -> None:
    """Raise ValueError unless `x` (B, T, D) and the masks of `context` (B, T) fit `shape` and `module`'s parameters.

    `max_length` bounds T; None leaves it open. Under autocast any floating type is taken.
    """
    found = tuple(x.shape)
    if x.dim() != 3 or x.shape[-1] != shape.d_model:
        raise ValueError(f"hidden states must be (B, T, {shape.d_model}), got {found}")
    if not x.numel():
        raise ValueError(f"hidden states must be (B, T, {shape.d_model}) with B and T of at least 1, got {found}")
    if max_length is not None and x.shape[1] > max_length:
        raise ValueError(
            f"hidden states must be (B, T, {shape.d_model}) with T up to max_length ({max_length}), got {found};"
            " build the model for longer sequences"
        )
    for name in ("valid", "landmarks"):
        mask = getattr(context, name)
        if mask is not None and not isinstance(mask, Tensor):
            raise ValueError(f"{name} must be a bool tensor of shape {tuple(x.shape[:2])}, got {type(mask).__name__}")
        if mask is not None and (mask.shape != x.shape[:2] or mask.dtype != torch.bool):
            expected = tuple(x.shape[:2])
            raise ValueError(f"{name} must be bool of shape {expected}, got {mask.dtype} of shape {tuple(mask.shape)}")
    weight = next(module.parameters(), None)
    if weight is None:
        return
    if x.device != weight.device:
        raise ValueError(f"hidden states {found} are on {x.device}, the model on {weight.device}; move one of them")
    if x.dtype != weight.dtype and not (x.is_floating_point() and torch.is_autocast_enabled(x.device.type)):
        raise ValueError(f"hidden states {found} are {x.dtype}, the weights {weight.dtype}; convert one of them")
