"""What variants compute on a device, held against the CPU; each comparison takes the device, so that a CPU runs it too.

On a CPU the comparison is of what the variant does for other devices, their sizes of blocks and plain operators, with
what it does for CPUs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from attention_arena.layers import Stack, autograd, processor_of, scratch
from attention_arena.layers.block import Block
from attention_arena.layers.reversible import run_two_streams
from attention_arena.testing.trial import forward, inputs, landmarks, loss_of, real_only, trials
from attention_arena.variant import Backbone, Capability, Context, Options, Variant

EXACT = 1e-9
"""Of float64, relative: what sums in another order differ by stays far below it."""
LENGTH = 37
"""Odd, and no multiple of any block above 1."""


class Pass(NamedTuple):
    """Hidden states and gradients of one pass, on the CPU and in float64."""

    hidden: Tensor
    """(B, T, D), zero at padding."""
    gradients: list[Tensor]
    """Of the input and of each parameter; zeros where there is none."""


def passes_agree(variant: Variant, options: Options, device: str, **shape: Any) -> None:
    """Hidden states and all gradients are those of the CPU, in every direction, with padding and landmarks."""
    x = inputs(3, LENGTH)
    for trial in trials(variant, options, max_length=LENGTH, **shape):
        for context in contexts(variant):
            expected = run(trial.backbone(), x, context)
            with as_on(device):
                found = run(trial.backbone().to(device), x.to(device), moved(context, device))
            given = [name for name, mask in context._asdict().items() if mask is not None]
            agree(found, expected, EXACT, f"{trial}, with {given or 'whole rows'}")


def lower_precision_agrees(variant: Variant, options: Options, device: str, dtype: torch.dtype, bound: float) -> None:
    """One layer's attention in float32, or under autocast to `dtype`, is within `bound` of float64, in norm.

    What the exact pass decided (buckets, directions) is handed on, because rounding would decide some of it otherwise.
    """
    x = inputs(3, LENGTH)
    for trial in trials(variant, options, max_length=LENGTH, n_layers=1, residual="plain"):
        for context in list(contexts(variant))[::2]:
            expected, replay = run_attention(trial.backbone(), x, context)
            context = moved(context._replace(replay=replay), device)
            half = nullcontext() if dtype == torch.float32 else torch.autocast(device, dtype)
            with as_on(device):
                backbone = trial.backbone(dtype=torch.float32).to(device)
                found, _ = run_attention(backbone, x.float().to(device), context, half)
            agree(found, expected, bound, f"{trial}, {dtype}")


def steps_agree(variant: Variant, options: Options, device: str, **shape: Any) -> None:
    """Decoding token by token gives what one causal pass gives on the CPU."""
    n_steps = 19
    x = inputs(2, n_steps)
    for trial in trials(variant, options, causal=True, max_length=LENGTH, **shape):
        expected = forward(trial.backbone(), x).hidden.detach()
        with as_on(device), torch.no_grad():
            backbone, state = trial.backbone().to(device), None
            for t in range(n_steps):
                torch.manual_seed(2)
                hidden, state = backbone.step(x[:, t : t + 1].to(device), Context(state=state))
                near(hidden.cpu(), expected[:, t : t + 1], EXACT, f"{trial}, step {t}")


def segments_agree(variant: Variant, options: Options, device: str) -> None:
    """Segments that follow each other, in some rows alone, give what they give on the CPU."""
    first, second = inputs(3, LENGTH), inputs(3, LENGTH, seed=9)
    resumes = torch.tensor([True, False, True])
    for trial in trials(variant, options, causal=True, max_length=LENGTH):
        backbone = trial.backbone()
        expected = run(backbone, second, Context(state=forward(backbone, first).state, resumes=resumes))
        with as_on(device):
            backbone = backbone.to(device)
            state = forward(backbone, first.to(device)).state
            found = run(backbone, second.to(device), Context(state=state, resumes=resumes.to(device)))
        agree(found, expected, EXACT, f"{trial}, second segment")


def stacks_agree(variant: Variant, options: Options, device: str, residual: str) -> None:
    """A stack that repeats its forward has the gradients of one that keeps it, with all that dropout draws there."""
    x = inputs(3, LENGTH)
    for trial in trials(variant, options, max_length=LENGTH, residual=residual, dropout=0.2):
        with as_on(device):
            backbone = trial.backbone().to(device).train()
            found = run(backbone, x.to(device), Context())
            kept = trial.backbone().to(device).train()
            if residual == "reversible":
                assert isinstance(kept, Stack)
                kept.residual = run_two_streams
            else:
                (plain,) = trials(
                    variant, options, causal=trial.shape.causal, max_length=LENGTH, residual="plain", dropout=0.2
                )
                kept = plain.backbone().to(device).train()
            expected = run(kept, x.to(device), Context())
        agree(found, expected, EXACT, f"{trial}, {residual}")


def dropout_is_differentiated(variant: Variant, options: Options, device: str) -> None:
    """Along one direction the gradient under dropout of weights is the difference of outputs, with the same draws."""
    x = inputs(3, LENGTH).to(device)
    along = inputs(3, LENGTH, seed=7).to(device)
    for trial in trials(variant, options, max_length=LENGTH, n_layers=1):
        with as_on(device):
            backbone = trial.backbone().to(device).train()
            found = (run(backbone, x, Context()).gradients[0] * along.cpu()).sum()
            ahead, behind = (loss_of(forward(backbone, x + sign * 1e-6 * along).hidden) for sign in (1, -1))
        near(found, ((ahead - behind) / 2e-6).detach().cpu(), 1e-5, f"{trial}, dropout of weights")


def flex_agrees(variant: Variant, device: str, *, causal: bool, padded: bool, **options: Any) -> None:
    """Longformer's flex_attention, of several blocks, is the blocked form of the CPU; float32, so to 1e-4 in norm.

    On a CPU forward alone, which is all that it has there.
    """
    T, sizes = 300, {"d_model": 32, "n_layers": 1, "max_length": 300}
    valid = torch.arange(T) < torch.tensor([[T], [T - 170]]) if padded else None
    x, context = inputs(2, T, width=32), Context(valid)
    (blocked,) = trials(variant, variant.options(**options), causal=causal, **sizes)
    (flex,) = trials(variant, variant.options(**options, implementation="flex"), causal=causal, **sizes)
    expected, backbone = run(blocked.backbone(), x, context), flex.backbone(dtype=torch.float32).to(device)
    if device == "cpu":
        with torch.no_grad():
            hidden = real_only(forward(backbone, x.float(), context).hidden, valid).double()
        near(hidden, expected.hidden, 1e-4, f"{flex}, flex")
    else:
        agree(run(backbone, x.float().to(device), moved(context, device)), expected, 1e-4, f"{flex}, flex")


def contexts(variant: Variant) -> Iterator[Context]:
    """Yield whole rows, then rows of all tokens, of some with a hole, and of none; without landmarks and with them."""
    yield Context()
    if Capability.PADDING not in variant.supports:
        return
    valid = torch.arange(LENGTH) < torch.tensor([LENGTH, LENGTH - 9, 0])[:, None]
    valid[1, 4:6] = False
    yield Context(valid)
    yield Context(valid, landmarks(3, LENGTH))


def run(backbone: Backbone, x: Tensor, context: Context) -> Pass:
    """Return hidden states and gradients of one pass over `x` (B, T, D), from a fixed seed."""
    x = x.clone().requires_grad_()
    hidden = real_only(forward(backbone, x, context).hidden, context.valid)
    return _differentiated(hidden, [x, *backbone.parameters()])


def run_attention(
    backbone: Backbone, x: Tensor, context: Context, autocast: AbstractContextManager[Any] | None = None
) -> tuple[Pass, Any]:
    """Return the pass of the first block's norm and attention alone, and its replay."""
    assert isinstance(backbone, Stack)
    block = backbone.blocks[0]
    assert isinstance(block, Block)
    x = x.clone().requires_grad_()
    torch.manual_seed(2)
    with autocast or nullcontext():
        output = block.attention.forward_raw(x, block.attention_norm, context)
    return _differentiated(real_only(output.hidden, context.valid), [x, *block.attention.parameters()]), output.replay


def _differentiated(hidden: Tensor, inputs: list[Tensor]) -> Pass:
    gradients = torch.autograd.grad(loss_of(hidden), inputs, materialize_grads=True)
    return Pass(hidden.detach().cpu().double(), [gradient.cpu().double() for gradient in gradients])


@contextmanager
def as_on(device: str) -> Iterator[None]:
    """Let variants choose blocks and operators as on `device`, and on a CPU as on CUDA."""
    with ExitStack() as stack:
        for name, module in list(sys.modules.items()) if device == "cpu" else []:
            chooses = name.startswith("attention_arena") and getattr(module, "processor_of", None) is processor_of
            if chooses and module not in (scratch, autograd):  # These speak of where tensors are.
                stack.enter_context(patch.object(module, "processor_of", lambda x: "cuda"))
        yield


def moved(context: Context, device: str) -> Context:
    """Return `context` on a device."""
    return Context(*(pytree.tree_map_only(Tensor, lambda part: part.to(device), each) for each in context))


def agree(found: Pass, expected: Pass, bound: float, what: str) -> None:
    """Fail unless hidden states, and each gradient beside the largest, differ by `bound` at most, relative and in norm.

    A gradient that is nothing but rounding is so held against those that are more.
    """
    near(found.hidden, expected.hidden, bound, f"{what}: hidden states")
    largest = max(gradient.norm() for gradient in expected.gradients)
    for place, pair in enumerate(zip(found.gradients, expected.gradients, strict=True)):
        near(*pair, bound, f"{what}: gradient {place}", least=0.1 * float(largest))


def near(found: Tensor, expected: Tensor, bound: float, what: str, least: float = 0.0) -> None:
    """Fail unless `found` differs from `expected` by at most `bound` times its norm, which counts as `least`."""
    assert found.shape == expected.shape, f"{what}: {tuple(found.shape)} instead of {tuple(expected.shape)}"
    difference, size = float((found - expected).norm()), max(float(expected.norm()), least)
    assert difference <= bound * size, f"{what}: differs by {difference / size:.2g}, allowed are {bound:g}"
