"""Checks of what any module owes its user: shapes, a complete state dict, repeatable results."""

from __future__ import annotations

import io

import torch
from torch import Tensor

from attention_arena.testing.trial import D_MODEL, MAX_LENGTH, Trial, forward, inputs, loss_of, trials
from attention_arena.testing.verdict import require, require_close, require_finite
from attention_arena.variant import Backbone, Context, Options, Variant


def check_shapes(variant: Variant, options: Options) -> None:
    """Any length from 1 to the longest keeps shape, dtype and device, also under bfloat16 autocast."""
    found = list(trials(variant, options))
    require(bool(found), f"{variant.name}: supports neither bidirectional nor causal")
    for trial in found:
        for dtype in (torch.float32, torch.float64):
            backbone = trial.backbone(dtype=dtype)
            for T in range(1, MAX_LENGTH + 1):
                _require_alike(backbone, inputs(2, T, dtype=dtype), f"{trial}, T={T}")
        _check_autocast(trial)
        if torch.cuda.is_available():
            backbone = trial.backbone(dtype=torch.float32).cuda()
            _require_alike(backbone, inputs(2, 7, dtype=torch.float32).cuda(), f"{trial}, cuda")


def _require_alike(backbone: Backbone, x: Tensor, what: str) -> None:
    hidden = forward(backbone, x).hidden
    for name in ("shape", "dtype", "device"):
        found, expected = getattr(hidden, name), getattr(x, name)
        require(found == expected, f"{what}: {name} of the output is {found}, expected {expected}")
    require_finite(hidden, what)


def _check_autocast(trial: Trial) -> None:
    backbone = trial.backbone(dtype=torch.float32).train()
    x = inputs(2, 7, dtype=torch.float32).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = forward(backbone, x).hidden
    allowed = (torch.float32, torch.bfloat16)
    require(hidden.dtype in allowed, f"{trial}, bfloat16 autocast: dtype {hidden.dtype}, expected float32 or bfloat16")
    (gradient,) = torch.autograd.grad(loss_of(hidden), [x])
    require_finite(hidden, f"{trial}, bfloat16 autocast, forward")
    require_finite(gradient, f"{trial}, bfloat16 autocast, backward")


def check_state_dict(variant: Variant, options: Options) -> None:
    """A state dict, saved and loaded into a backbone of another seed, gives bit-equal results."""
    x = inputs(2, MAX_LENGTH)
    for trial in trials(variant, options):
        source, target = trial.backbone(seed=0).train(), trial.backbone(seed=1)
        forward(source, x)  # A step of training may move buffers, and they must travel too.
        source.eval()
        file = io.BytesIO()
        torch.save(source.state_dict(), file)
        file.seek(0)
        target.load_state_dict(torch.load(file, weights_only=True))
        found, expected = forward(target, x).hidden, forward(source, x).hidden
        require(
            torch.equal(found, expected),
            f"{trial}: results differ by {(found - expected).abs().max():.3g} after a state dict round trip; "
            "is something drawn at random that is neither a parameter nor a buffer?",
        )


def check_determinism(variant: Variant, options: Options) -> None:
    """The same seed gives the same backbone and training pass; evaluation repeats itself whatever the generator."""
    x = inputs(2, MAX_LENGTH)
    for trial in trials(variant, options, dropout=0.1):
        first, second = trial.backbone(seed=3), trial.backbone(seed=3)
        for (name, one), (_, other) in zip(first.state_dict().items(), second.state_dict().items(), strict=True):
            require(torch.equal(one, other), f"{trial}: {name} differs between two backbones of one seed")
        once, again = forward(first, x, seed=4).hidden, forward(first, x, seed=5).hidden
        require_close(again, once, f"{trial}: evaluating twice", tolerance=0.0)
        for name, one, other in zip(("output", "gradient"), _train_pass(first, x), _train_pass(second, x), strict=True):
            require_close(other, one, f"{trial}: {name} of training twice with one seed", tolerance=0.0)


def _train_pass(backbone: Backbone, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    hidden = forward(backbone.train(), x).hidden
    (gradient,) = torch.autograd.grad(loss_of(hidden), [x])
    return hidden.detach(), gradient


def check_equivariance(variant: Variant, options: Options) -> None:
    """Permuting the batch permutes the output: no row sees another."""
    B, T = 4, 9
    x = inputs(B, T)
    order = torch.tensor([2, 0, 3, 1])
    marked = torch.zeros(B, T, dtype=torch.bool)
    marked[:, 0] = True
    marked[1, 4] = True
    for trial in trials(variant, options):
        backbone = trial.backbone()
        straight = forward(backbone, x, Context(landmarks=marked)).hidden
        permuted = forward(backbone, x[order], Context(landmarks=marked[order])).hidden
        require_close(permuted, straight[order], f"{trial}: the permuted batch")
        alone = forward(backbone, x[:1], Context(landmarks=marked[:1])).hidden
        require(alone.shape == (1, T, D_MODEL), f"{trial}: a batch of one gives shape {tuple(alone.shape)}")
        require_close(alone, straight[:1], f"{trial}: a row alone")
