"""Check of what a backbone must refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from attention_arena.testing.trial import D_MODEL, MAX_LENGTH, Trial, inputs, trials
from attention_arena.testing.verdict import require
from attention_arena.variant import Backbone, BackboneOutput, Capability, Context, Options, Variant

SHORT = 5


def check_refusals(variant: Variant, options: Options) -> None:
    """Inputs of a wrong rank, width, length, dtype, device or mask raise a ValueError that names found and expected.

    Of tensors on another device (the meta device, which every machine has) it names both devices, of a state of other
    rows both numbers of rows.
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
            _require_refusal(f"{trial}, {name}", partial(backbone, x, context), words)
        for name, run, T in _ways_to_resume(trial, backbone):
            state = run(inputs(7, T)).state
            resume = partial(run, inputs(4, T), Context(state=state))
            _require_refusal(f"{trial}, a state of other rows in {name}", resume, ("7", "4"))


def _ways_to_resume(trial: Trial, backbone: Backbone) -> Iterator[tuple[str, Callable[..., BackboneOutput], int]]:
    """Yield what may be given a state, with the tokens that it takes."""
    supports = trial.variant.supports
    if Capability.STEPWISE in supports and trial.shape.causal:
        yield "step", backbone.step, 1
    if Capability.SEGMENT_STATE in supports and (trial.shape.causal or Capability.CAUSAL not in supports):
        yield "forward", backbone, SHORT


def _require_refusal(what: str, call: Callable[[], object], words: Sequence[str]) -> None:
    try:
        call()
    except ValueError as error:
        missing = [word for word in words if word not in str(error)]
        require(not missing, f"{what}: the error does not name {', '.join(missing)}: {error}")
    except Exception as error:
        require(False, f"{what}: {type(error).__name__} instead of ValueError: {error}")
    else:
        require(False, f"{what}: accepted")
