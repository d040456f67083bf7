"""Check of what a backbone must refuse."""

from __future__ import annotations

import torch
from torch import Tensor

from attention_arena.testing.trial import D_MODEL, MAX_LENGTH, inputs, trials
from attention_arena.testing.verdict import require
from attention_arena.variant import Context, Options, Variant

SHORT = 5


def check_refusals(variant: Variant, options: Options) -> None:
    """Inputs of a wrong rank, width, length, dtype, device or mask raise a ValueError that names found and expected.

    Of tensors on another device (the meta device, which every machine has) it names both devices.
    """
    good = inputs(2, SHORT)
    mask = torch.ones(2, SHORT, dtype=torch.bool)
    cases: dict[str, tuple[Tensor, Context, tuple[str, ...]]] = {
        "rank 2": (good[0], Context(), (f"{tuple(good[0].shape)}", f"{D_MODEL}")),
        "another width": (inputs(2, SHORT, width=D_MODEL + 1), Context(), (f"({2}, {SHORT}, {D_MODEL + 1})",)),
        "too long": (inputs(2, MAX_LENGTH + 1), Context(), (f"{MAX_LENGTH}", f"(2, {MAX_LENGTH + 1}, {D_MODEL})")),
        "another dtype": (good.float(), Context(), ("torch.float32", "torch.float64")),
        "valid of another shape": (good, Context(valid=mask[:, 1:]), (f"(2, {SHORT})", f"(2, {SHORT - 1})")),
        "valid of numbers": (good, Context(valid=mask.float()), ("bool", "torch.float32")),
        "another device": (good.to("meta"), Context(), ("meta", "cpu")),
        "valid on another device": (good, Context(valid=mask.to("meta")), ("meta", "cpu")),
        "landmarks on another device": (good, Context(landmarks=mask.to("meta")), ("meta", "cpu")),
        "landmarks of another shape": (good, Context(landmarks=mask[:1]), (f"(2, {SHORT})", f"(1, {SHORT})")),
    }
    for trial in trials(variant, options):
        backbone = trial.backbone()
        for name, (x, context, words) in cases.items():
            try:
                backbone(x, context)
            except ValueError as error:
                missing = [word for word in words if word not in str(error)]
                require(not missing, f"{trial}, {name}: the error does not name {', '.join(missing)}: {error}")
            except Exception as error:
                require(False, f"{trial}, {name}: {type(error).__name__} instead of ValueError: {error}")
            else:
                require(False, f"{trial}, {name}: accepted")
