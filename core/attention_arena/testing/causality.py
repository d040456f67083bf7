"""Checks of gradients, and of causality by gradient and by perturbation."""

from __future__ import annotations

import torch
from torch import Tensor

from attention_arena.testing.trial import Trial, forward, inputs, landmarks, loss_of, requires, trials
from attention_arena.testing.verdict import ContractError, require, require_close
from attention_arena.variant import Capability, Context, Options, Variant


def check_gradients(variant: Variant, options: Options) -> None:
    """Analytic gradients of the input and of every parameter equal numerical ones in float64.

    So does the gradient of a gradient, or it is refused with a RuntimeError.
    """
    for trial in trials(variant, options):
        _check_gradients(trial)
        _check_second_derivative(trial)


def _check_gradients(trial: Trial) -> None:
    backbone = trial.backbone()
    x = inputs(2, 7).requires_grad_()

    def hidden(*_: Tensor) -> Tensor:
        return forward(backbone, x).hidden

    # Numerical differences are taken by changing these tensors in place, so the backbone sees them.
    parameters = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    for what, tensors in (("the input", [x]), ("the parameters", parameters)):
        try:
            torch.autograd.gradcheck(hidden, tensors, fast_mode=True, atol=1e-5, rtol=1e-4)
        except RuntimeError as error:
            first_line = str(error).strip().partition("\n")[0]
            raise ContractError(f"{trial}: gradient of {what}: {first_line}") from error


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
    """The gradient of output t with respect to every later input is exactly zero."""
    requires(variant, Capability.CAUSAL)
    T = 9
    for trial in trials(variant, options, causal=True):
        x = inputs(2, T).requires_grad_()
        hidden = forward(trial.backbone(), x).hidden
        for t in range(T):
            (gradient,) = torch.autograd.grad(hidden[:, t].sin().sum(), [x], retain_graph=True)
            later = gradient[:, t + 1 :]
            reach = int((later != 0).any(-1).any(0).sum())
            require(reach == 0, f"{trial}: output {t} of {T} has a gradient from {reach} later inputs, expected none")
            require(bool((gradient[:, t] != 0).any()), f"{trial}: output {t} does not depend on its own input")


def check_perturbation_causality(variant: Variant, options: Options) -> None:
    """Replacing every later input, by larger ones too, changes no earlier output."""
    requires(variant, Capability.CAUSAL)
    B, T = 2, 12
    x, other = inputs(B, T), inputs(B, T, seed=7)
    for marked in (None, landmarks(B, T)):
        for trial in trials(variant, options, causal=True):
            backbone = trial.backbone()
            expected = forward(backbone, x, Context(landmarks=marked)).hidden
            for t in (0, 3, 4, 7, 10):
                for scale in (1.0, 5.0):
                    changed = torch.cat([x[:, : t + 1], scale * other[:, t + 1 :]], dim=1)
                    found = forward(backbone, changed, Context(landmarks=marked)).hidden
                    what = f"{trial}: outputs up to {t} when later inputs are replaced"
                    require_close(found[:, : t + 1], expected[:, : t + 1], what)
