"""Precision of the forward pass, and gradient scaling for float16."""

from __future__ import annotations

from contextlib import nullcontext

import torch

from attention_arena.evaluation import Autocast

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast_for(precision: str, device: torch.device) -> Autocast:
    """Return a maker of context managers that run operations in `precision` (fp32, bf16 or fp16) where it is safe."""
    if precision == "fp32":
        return nullcontext
    return lambda: torch.autocast(device.type, dtype=DTYPES[precision])


def scaler_for(precision: str, device: torch.device) -> torch.amp.GradScaler:
    """Return a gradient scaler; it does nothing unless the precision is fp16."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")
