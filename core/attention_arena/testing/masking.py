"""Checks of padding, and of inputs at the edge: nothing to attend to, one token, huge logits, constants."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attention_arena.layers.attention import Attention
from attention_arena.testing.trial import (
    MAX_LENGTH,
    blocks_of,
    forward_backward,
    inputs,
    landmarks,
    loss_of,
    requires,
    trials,
)
from attention_arena.testing.verdict import require, require_close, require_finite
from attention_arena.variant import Backbone, Capability, Context, Options, Variant

LENGTHS = (9, 6, 1)
"""Real tokens in each row of a padded batch."""


def padded() -> Tensor:
    """Return `valid` (B, T) of rows with `LENGTHS` tokens, padded on the right."""
    return torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]


def check_padding(variant: Variant, options: Options) -> None:
    """A padded row equals the same row alone, forward and backward, whatever the padding holds."""
    requires(variant, Capability.PADDING)
    valid = padded()
    B, T = valid.shape
    x, marked = inputs(B, T), landmarks(B, T)
    huge = torch.where(valid[..., None], x, 1e6 * inputs(B, T, seed=8))
    for trial in trials(variant, options):
        backbone = trial.backbone()
        whole = forward_backward(backbone, x)
        all_valid = forward_backward(backbone, x, Context(valid=torch.ones_like(valid)))
        require_close(all_valid.hidden, whole.hidden, f"{trial}: all tokens valid against no mask")
        batch = forward_backward(backbone, x, Context(valid, marked))
        noisy = forward_backward(backbone, huge, Context(valid, marked))
        require_close(noisy.hidden[valid], batch.hidden[valid], f"{trial}: huge values in the padding")
        require_close(noisy.gradient[valid], batch.gradient[valid], f"{trial}: gradient, huge values in the padding")
        leak = int((batch.gradient[~valid] != 0).sum())
        require(leak == 0, f"{trial}: {leak} gradients at padded positions are not zero")
        for row, length in enumerate(LENGTHS):
            context = Context(landmarks=marked[row : row + 1, :length])
            alone = forward_backward(backbone, x[row : row + 1, :length], context)
            what = f"{trial}: a row of {length} tokens padded to {T} against the row alone"
            require_close(batch.hidden[row, :length], alone.hidden[0], what)
            require_close(batch.gradient[row, :length], alone.gradient[0], f"gradient of {what}")


def check_finite(variant: Variant, options: Options) -> None:
    """No NaN or infinity, forward or backward, at the edges; a row with nothing to attend to gets zeros."""
    constant = torch.linspace(-1, 1, inputs(1, 1).shape[-1], dtype=torch.float64).expand(2, MAX_LENGTH, -1)
    cases: dict[str, tuple[Tensor, Tensor | None]] = {
        "one token": (inputs(2, 1), None),
        "equal tokens": (constant.clone(), None),
        "all values equal": (torch.ones_like(constant), None),
        "zeros": (torch.zeros_like(constant), None),
    }
    if Capability.PADDING in variant.supports:
        empty_row = torch.ones(2, MAX_LENGTH, dtype=torch.bool)
        empty_row[1] = False
        cases["a row without any valid token"] = (inputs(2, MAX_LENGTH), empty_row)
    for trial in trials(variant, options):
        for dtype in (torch.float32, torch.float64):
            backbone = trial.backbone(dtype=dtype)
            for name, (x, valid) in cases.items():
                _require_finite_pass(backbone, x.to(dtype), Context(valid), f"{trial}, {name}")
            _check_huge_logits(backbone, inputs(2, MAX_LENGTH, dtype=dtype), str(trial))
            if Capability.PADDING in variant.supports:
                _check_empty_row(backbone, inputs(2, MAX_LENGTH, dtype=dtype), str(trial))


def _require_finite_pass(module: nn.Module, x: Tensor, context: Context, what: str) -> None:
    module.zero_grad()
    x = x.clone().requires_grad_()
    torch.manual_seed(2)
    hidden = module(x, context).hidden
    require_finite(hidden, f"{what}, forward")
    loss_of(hidden).backward()  # type: ignore[no-untyped-call]
    require_finite(x.grad, f"{what}, gradient of the input")
    for name, parameter in module.named_parameters():
        require_finite(parameter.grad, f"{what}, gradient of {name}")


class _Unnormalised(nn.Module):
    """An attention without the norm before it, so that its logits can be of any size."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor, context: Context) -> object:
        return self.attention.forward_raw(x, nn.Identity(), context)


def _check_huge_logits(backbone: Backbone, x: Tensor, what: str) -> None:
    """Run each attention at 100 times the usual input, where products of query and key are of order 1e4."""
    for block in blocks_of(backbone):
        _require_finite_pass(_Unnormalised(block.attention), 100 * x, Context(), f"{what}, logits of order 1e4")


def _check_empty_row(backbone: Backbone, x: Tensor, what: str) -> None:
    valid = torch.ones(x.shape[:2], dtype=torch.bool)
    valid[1] = False
    for layer, block in enumerate(blocks_of(backbone)):
        torch.manual_seed(2)
        added = block.attention_branch(x, Context(valid)).hidden
        largest = added[1].abs().max().item()
        require(largest == 0, f"{what}: attention {layer} gives a row without valid tokens {largest:.3g}, expected 0")
        require(bool((added[0] != 0).any()), f"{what}: attention {layer} gives zeros to a row with valid tokens")
