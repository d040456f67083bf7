"""Check of the residual stacks: what is kept, recomputed or reconstructed must be the same function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attention_arena.layers import Stack
from attention_arena.layers.reversible import run_two_streams
from attention_arena.testing.trial import forward, inputs, loss_of, paddings, real_only, trials
from attention_arena.testing.verdict import NotApplicable, require_close
from attention_arena.variant import Backbone, Context, Options, Variant


def check_residuals(variant: Variant, options: Options) -> None:
    """Plain and checkpointed give equal losses and gradients, reversible those of its two plain streams."""
    contexts = [Context(valid) for valid in paddings(variant, 2, 11)]
    for pairs in (_plain_and_checkpointed, _reversible_and_two_streams):
        for first, second, what in pairs(variant, options):
            for context in contexts:
                _require_equal_passes(first, second, context, what)


def _plain_and_checkpointed(variant: Variant, options: Options) -> list[tuple[Backbone, Backbone, str]]:
    plain = trials(variant, options, residual="plain", dropout=0.2)
    checkpointed = trials(variant, options, residual="checkpointed", dropout=0.2)
    return [
        (_stack(one.backbone), _stack(other.backbone), f"{one}: checkpointed against plain")
        for one, other in zip(plain, checkpointed, strict=True)
    ]


def _reversible_and_two_streams(variant: Variant, options: Options) -> list[tuple[Backbone, Backbone, str]]:
    pairs: list[tuple[Backbone, Backbone, str]] = []
    for trial in trials(variant, options, residual="reversible", dropout=0.2):
        streams = _stack(trial.backbone)
        streams.residual = run_two_streams
        pairs.append((streams, _stack(trial.backbone), f"{trial}: reversible against its two streams"))
    return pairs


def _stack(build: Callable[[], Backbone]) -> Stack:
    try:
        backbone = build()
    except ValueError as error:
        raise NotApplicable(f"refuses another residual stack: {error}") from error
    if not isinstance(backbone, Stack):
        raise NotApplicable(f"{type(backbone).__name__} is no stack of the shared blocks")
    return backbone


def _require_equal_passes(first: Backbone, second: Backbone, context: Context, what: str) -> None:
    expected, found = _losses_and_gradients(first, context), _losses_and_gradients(second, context)
    for name, value in expected.items():
        require_close(found[name], value, f"{what}, {name}")


def _losses_and_gradients(backbone: Backbone, context: Context) -> dict[str, Tensor]:
    backbone.train().zero_grad()
    x = inputs(2, 11).requires_grad_()
    loss: Any = loss_of(real_only(forward(backbone, x, context).hidden, context.valid))
    # Backward must bring its own generator state, whatever has been drawn since forward.
    torch.manual_seed(99)
    loss.backward()
    gradients = {
        f"gradient of {name}": torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
        for name, parameter in backbone.named_parameters()
    }
    assert x.grad is not None
    return {"loss": loss.detach(), "gradient of the input": x.grad, **gradients}
