"""Checks of gradients, and of causality by gradient and by perturbation."""

from __future__ import annotations

import torch
from torch import Tensor

from attention_arena.testing.trial import (
    Trial,
    forward,
    inputs,
    landmarks,
    loss_of,
    paddings,
    real_only,
    requires,
    trials,
)
from attention_arena.testing.verdict import ContractError, require, require_close
from attention_arena.variant import Backbone, Capability, Context, Options, Variant

STEP = 3e-8
"""Of parameters, for numerical slopes: small enough for signed features, whose sums come near 0."""


def check_gradients(variant: Variant, options: Options) -> None:
    """Analytic gradients of the input and of every parameter equal numerical ones in float64, with padding and without.

    So does the gradient of a gradient, or it is refused with a RuntimeError.
    """
    for trial in trials(variant, options):
        for valid in paddings(variant, 2, 7):
            what = str(trial) if valid is None else f"{trial}, padded"
            _check_gradient_of_input(what, trial.backbone(), Context(valid))
            _check_gradients_of_parameters(what, trial.backbone(), Context(valid))
        _check_second_derivative(trial)


def _check_gradient_of_input(what: str, backbone: Backbone, context: Context) -> None:
    def hidden(x: Tensor) -> Tensor:
        return real_only(forward(backbone, x, context).hidden, context.valid)

    try:
        torch.autograd.gradcheck(hidden, [inputs(2, 7).requires_grad_()], fast_mode=True, atol=1e-5, rtol=1e-4)
    except RuntimeError as error:
        first_line = str(error).strip().partition("\n")[0]
        raise ContractError(f"{what}: gradient of the input: {first_line}") from error


def _check_gradients_of_parameters(what: str, backbone: Backbone, context: Context) -> None:
    """Compare slopes along one direction that moves all parameters at once, each of its numbers by its own amount."""
    x = inputs(2, 7)
    parameters = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    generator = torch.Generator().manual_seed(5)
    along = [torch.randn(parameter.shape, generator=generator, dtype=torch.float64) for parameter in parameters]

    def loss() -> Tensor:
        return loss_of(real_only(forward(backbone, x, context).hidden, context.valid))

    gradients = torch.autograd.grad(loss(), parameters, allow_unused=True)
    slopes = [(g * direction).sum() for g, direction in zip(gradients, along, strict=True) if g is not None]
    ends = []
    with torch.no_grad():
        for step in (STEP, -2 * STEP):
            for parameter, direction in zip(parameters, along, strict=True):
                parameter.add_(direction, alpha=step)
            ends.append(loss())
    expected = (ends[0] - ends[1]) / (2 * STEP)
    require_close(torch.stack(slopes).sum(), expected, f"{what}: gradient of the parameters, along one direction", 1e-5)


def _check_second_derivative(trial: Trial) -> None:
    backbone = trial.backbone()
    x, along, of = inputs(2, 7), inputs(2, 7, seed=3), inputs(2, 7, seed=4)

    def slope(x: Tensor, create_graph: bool = False) -> Tensor:
        """Return the input's gradient of the loss, along one direction."""
        (gradient,) = torch.autograd.grad(loss_of(forward(backbone, x).hidden), [x], create_graph=create_graph)
        return (gradient * of).sum()

    step = 1e-5
    ahead, behind = (slope((x + sign * step * along).requires_grad_()) for sign in (1, -1))
    expected = (ahead - behind) / (2 * step)
    x.requires_grad_()
    try:
        (second,) = torch.autograd.grad(slope(x, create_graph=True), [x])
    except RuntimeError:
        return
    require_close((second * along).sum(), expected, f"{trial}: the gradient of a gradient", tolerance=1e-4)


def check_gradient_causality(variant: Variant, options: Options) -> None:
    """The gradient of output t with respect to every later input is exactly zero, with padding and without."""
    requires(variant, Capability.CAUSAL)
    T = 9
    for trial in trials(variant, options, causal=True):
        for valid in paddings(variant, 2, T):
            x = inputs(2, T).requires_grad_()
            hidden = real_only(forward(trial.backbone(), x, Context(valid)).hidden, valid)
            what = str(trial) if valid is None else f"{trial}, padded"
            for t in range(T):
                (gradient,) = torch.autograd.grad(hidden[:, t].sin().sum(), [x], retain_graph=True)
                later = gradient[:, t + 1 :]
                reach = int((later != 0).any(-1).any(0).sum())
                require(reach == 0, f"{what}: output {t} of {T} has a gradient from {reach} later inputs, not from 0")
                require(bool((gradient[:, t] != 0).any()), f"{what}: output {t} does not depend on its own input")


def check_perturbation_causality(variant: Variant, options: Options) -> None:
    """Replacing every later input, by larger ones too, changes no earlier output, with padding and without."""
    requires(variant, Capability.CAUSAL)
    B, T = 2, 12
    marked = landmarks(B, T)
    contexts = [Context(), *(Context(valid, marked) for valid in paddings(variant, B, T))]
    for trial in trials(variant, options, causal=True):
        for context in contexts:
            _check_perturbed(trial, context, inputs(B, T), inputs(B, T, seed=7))


def _check_perturbed(trial: Trial, context: Context, x: Tensor, other: Tensor) -> None:
    backbone = trial.backbone()
    expected = real_only(forward(backbone, x, context).hidden, context.valid)
    for t in (0, 3, 4, 7, 10):
        for scale in (1.0, 5.0):
            changed = torch.cat([x[:, : t + 1], scale * other[:, t + 1 :]], dim=1)
            found = real_only(forward(backbone, changed, context).hidden, context.valid)
            given = [name for name in ("valid", "landmarks") if getattr(context, name) is not None]
            what = ", ".join([f"{trial}: outputs up to {t} when later inputs are replaced", *given])
            require_close(found[:, : t + 1], expected[:, : t + 1], what)
