"""Checks of heads: one is as good as another, and each sums values under weights that sum to 1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import torch
from torch import Tensor, nn

from attention_arena.layers import Attention, NoWeightsError
from attention_arena.testing.anatomy import Masks, attend, find_heads, output_projection, rearrange
from attention_arena.testing.trial import MAX_LENGTH, blocks_of, inputs, landmarks, paddings, trials
from attention_arena.testing.verdict import NotApplicable, require, require_close
from attention_arena.variant import Context, Options, Variant


def check_heads(variant: Variant, options: Options) -> None:
    """Permuting the heads of a layer, which is their slices of its parameters, changes no output.

    Heads that see different pairs even where their parameters are equal (a dilation or a pattern for each) differ on
    purpose: their layer is left out.
    """
    reasons: list[str] = []
    n_checked = 0
    for what, attention, n_heads in _layers(variant, options):
        try:
            _check_permuted(what, attention, n_heads)
            n_checked += 1
        except NotApplicable as reason:
            reasons.append(str(reason))
    if not n_checked:
        raise NotApplicable(reasons[0] if reasons else f"{variant.name} has no attention in shared blocks")


def _layers(variant: Variant, options: Options) -> Iterator[tuple[str, Attention, int]]:
    for trial in trials(variant, options):
        for layer, block in enumerate(blocks_of(trial.backbone())):
            yield f"{trial}, attention {layer}", block.attention, trial.shape.n_heads


def _check_permuted(what: str, attention: Attention, n_heads: int) -> None:
    x = inputs(2, MAX_LENGTH)
    context = Context(landmarks=landmarks(2, MAX_LENGTH))
    masks = find_heads(attention, n_heads, x, context)
    expected = attend(attention, x, context)
    rearrange(attention, masks, [*range(1, n_heads), 0])
    found = attend(attention, x, context)
    if not torch.allclose(found, expected) and _see_different_pairs(attention, masks, n_heads, x):
        raise NotApplicable(f"{what}: heads see different pairs whatever their parameters are")
    require_close(found, expected, f"{what}: the output when its heads change places")


def _see_different_pairs(attention: Attention, masks: Masks, n_heads: int, x: Tensor) -> bool:
    """Make the heads of `attention` alike, and return whether they still attend to different pairs."""
    rearrange(attention, masks, [0] * n_heads)
    try:
        seen = attention.weights_raw(x, nn.Identity(), Context()) != 0
    except (NoWeightsError, NotImplementedError):
        return False
    return bool((seen != seen[:, :1]).any())


def check_weights(variant: Variant, options: Options) -> None:
    """The weights of a query's keys sum to 1, hidden keys weigh nothing, and heads are the weights times the values.

    The value of a token is its head when it is alone, and that is a projection of it.
    """
    reasons: list[str] = []
    n_checked = 0
    for what, attention, _ in _layers(variant, options):
        x = inputs(2, MAX_LENGTH)
        for valid in paddings(variant, 2, MAX_LENGTH):
            context = Context(valid, landmarks(2, MAX_LENGTH))
            try:
                weights = attention.weights_raw(x, nn.Identity(), context)
            except (NoWeightsError, NotImplementedError) as reason:
                reasons.append(f"{what}: {reason}")
                continue
            _check_rows(what, weights, context)
            # A layer that ends in no projection shows its weights alone.
            with suppress(NotApplicable):
                _check_heads_are_sums(what, attention, x, weights, context)
            n_checked += 1
    if not n_checked:
        raise NotApplicable(reasons[0] if reasons else f"{variant.name} has no attention in shared blocks")


def _check_rows(what: str, weights: Tensor, context: Context) -> None:
    real = torch.ones_like(weights[:, 0, :, 0], dtype=torch.bool) if context.valid is None else context.valid  # (B, T)
    sums = weights.sum(-1).transpose(1, 2)[real]  # (real tokens, H)
    require_close(sums, torch.ones_like(sums), f"{what}: sums of the weights of each query")
    leak = int((weights.masked_fill(real[:, None, None, :], 0.0) != 0).sum())
    require(leak == 0, f"{what}: {leak} weights of padded keys are not 0")


def _check_heads_are_sums(what: str, attention: Attention, x: Tensor, weights: Tensor, context: Context) -> None:
    """Require the heads of `attention` over `x` (B, T, D) to be `weights` (B, H, T, T) times those of tokens alone."""
    B, H, T, _ = weights.shape
    name, projection = output_projection(attention, x)
    before = projection.detach().clone()
    projection.data.copy_(torch.eye(len(projection)))  # So that heads come out as they are, side by side.
    heads, alone = attend(attention, x, context), attend(attention, x.reshape(B * T, 1, -1))
    values = alone.view(B, T, H, -1).transpose(1, 2)  # (B, H, T, E)
    expected = (weights @ values).transpose(1, 2).flatten(2)
    real = slice(None) if context.valid is None else context.valid
    require_close(heads[real], expected[real], f"{what}: heads against weights times values")
    others = [parameter for other, parameter in attention.named_parameters() if other != name and parameter.dim() > 1]
    for head in range(H):
        gradients = torch.autograd.grad(values[0, head, 0, 0], others, allow_unused=True, retain_graph=True)
        squares = torch.stack([gradient.square().sum() for gradient in gradients if gradient is not None]).sum()
        slope = f"{what}, head {head}: squared slope of a token's value by its projection"
        require_close(squares, x[0, 0].square().sum(), slope)
    projection.data.copy_(before)
