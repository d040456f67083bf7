"""Budgets that variants can be given alike: how each is counted before anything runs, and how near it must come.

Only what variants differ in is counted, the backbone and its positions: embedding and head are the same in every model
of a task, so whole models come nearer still, and nothing need be known of the data.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode

from attention_arena.flop_counter import count_flops
from attention_arena.layers import Stack
from attention_arena.variant import Context, ModelShape, Options, Variant

QUICK_PRODUCTS = 2**29
"""Multiply-adds; about as long as the overhead of tensors without content, a tenth of a second."""
SHORT = 16
"""Tokens of an input that is quick to go through."""

What = Literal["parameters", "flops"]
Count = Callable[[int], int]
"""d_ff -> how much of the budget a model takes."""
Counter = Callable[[Variant, Options, ModelShape, int], Count]
"""(variant, options, shape, sequences in an example) -> the count at any d_ff."""


def parameters_by_width(variant: Variant, options: Options, shape: ModelShape, n_sequences: int) -> Count:
    """Count the learned numbers of a variant's backbone and of the position table that the model adds for it."""
    learned = variant.positions == "absolute" and shape.positions == "learned"
    table = shape.max_length * shape.d_model if learned else 0

    def count(d_ff: int) -> int:
        wide = _with_width(shape, d_ff)
        try:
            with torch.device("meta"), torch.random.fork_rng(devices=[]):
                backbone = variant.build(options, wide)
        except (RuntimeError, NotImplementedError):
            with torch.random.fork_rng(devices=[]):
                backbone = variant.build(options, wide)
        return table + sum(parameter.numel() for parameter in backbone.parameters())

    return count


def flops_by_width(variant: Variant, options: Options, shape: ModelShape, n_sequences: int) -> Count:
    """Count the FLOPs of one forward of a variant's backbone, in training, on `n_sequences` of `max_length` tokens.

    They are those of a CPU, whatever the study will run on: a variant may take another form on an accelerator. A long
    input is gone through once, at the shape's own d_ff. What another d_ff adds is counted on a short input, as long as
    it is there what the shared feed-forward layer costs, or else on two that show that it is in proportion to length.
    """
    T = shape.max_length

    @cache
    def count(d_ff: int, length: int) -> int:
        return forward_flops(variant, options, _with_width(shape, d_ff), n_sequences, length)

    def added(d_ff: int, length: int) -> int:
        return count(d_ff, length) - count(shape.d_ff, length)

    def count_by_parts(d_ff: int) -> int:
        once = added(d_ff, SHORT)
        shared = (d_ff - shape.d_ff) * feed_forward_flops(shape, n_sequences * SHORT)
        if once == shared or added(d_ff, 2 * SHORT) == 2 * once:
            return count(shape.d_ff, T) + once * T // SHORT
        return count(d_ff, T)

    return count_by_parts if T > 2 * SHORT else partial(count, length=T)


def feed_forward_flops(shape: ModelShape, n_tokens: int) -> int:
    """Return what a unit of d_ff costs in the shared blocks: a column of each of two matrices in each layer."""
    return n_tokens * shape.n_layers * 4 * shape.d_model


def forward_flops(variant: Variant, options: Options, shape: ModelShape, n_sequences: int, length: int) -> int:
    """Return the FLOPs of one forward in training on `n_sequences` of `length` tokens, on a CPU.

    Of a stack whose layers are all alike one layer is gone through, and of several sequences one, as long as a short
    input shows that the count is in proportion to them.
    """
    if length > 2 * SHORT and shape.n_layers * n_sequences > 1:
        one = shape.model_copy(update={"n_layers": 1}) if layers_are_alike(variant, options, shape) else shape
        times = shape.n_layers // one.n_layers * n_sequences
        part, whole = (_forward(variant, options, *each, SHORT) for each in ((one, 1), (shape, n_sequences)))
        if whole == times * part:
            return times * _forward(variant, options, one, 1, length)
    return _forward(variant, options, shape, n_sequences, length)


def layers_are_alike(variant: Variant, options: Options, shape: ModelShape) -> bool:
    """Whether a variant's backbone is a stack of equal blocks, the only one of a shallow stack equal to them.

    Blocks are equal that have the same settings, and parameters and buffers of the same form, byte by byte when they
    are pickled. A stack that cannot be built shallow or without content, or not pickled, counts as one of unequal ones.
    """
    if shape.n_layers == 1:
        return False
    shapes = (shape, shape.model_copy(update={"n_layers": 1}))
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            stacks = [variant.build(options, each) for each in shapes]
        if not all(isinstance(stack, Stack) for stack in stacks):
            return False
        return len({pickle.dumps(block) for stack in stacks for block in cast(Stack, stack).blocks}) == 1
    except (ValueError, RuntimeError, NotImplementedError, pickle.PicklingError, AttributeError, TypeError):
        return False


def _forward(variant: Variant, options: Options, shape: ModelShape, n_sequences: int, length: int) -> int:
    """Count one forward as it is; a long one with tensors that have a shape and no content.

    Unless the variant must see its data.
    """

    def count() -> int:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            backbone = variant.build(options, shape).train()
            x = torch.randn(n_sequences, length, shape.d_model)
            context = Context(landmarks=_landmarks(shape, n_sequences, length))
            return count_flops(lambda: backbone(x, context))

    if _is_quick(shape, n_sequences * length, length):
        return count()
    try:
        with FakeTensorMode():
            return count()
    except (RuntimeError, NotImplementedError):
        return count()


def _landmarks(shape: ModelShape, n_sequences: int, length: int) -> Tensor | None:
    """Return the CLS token as the one landmark (B, T), where there is one."""
    if shape.causal or shape.pooling != "cls":
        return None
    return (torch.arange(length) == 0).expand(n_sequences, -1)


def _is_quick(shape: ModelShape, n_tokens: int, length: int) -> bool:
    """Whether a forward is cheaper to compute than to go through without content, full attention included."""
    D = shape.d_model
    return shape.n_layers * n_tokens * (4 * D**2 + 2 * D * shape.d_ff + 2 * length * D) <= QUICK_PRODUCTS


def _with_width(shape: ModelShape, d_ff: int) -> ModelShape:
    return shape.model_copy(update={"d_ff": d_ff})


@dataclass(frozen=True)
class Budget:
    """One budget, and how near a match must come."""

    noun: str
    counter: Counter
    per_unit: Callable[[ModelShape, int], int]
    """(shape, sequences in an example) -> what a unit of d_ff costs in the shared block; elsewhere a first guess."""
    tolerance: float
    """Largest relative difference that still counts as matched."""


BUDGETS: Mapping[What, Budget] = {
    "parameters": Budget(
        noun="parameters",
        counter=parameters_by_width,
        per_unit=lambda shape, n_sequences: shape.n_layers * (2 * shape.d_model + 1),
        tolerance=0.01,
    ),
    "flops": Budget(
        noun="FLOPs of a forward pass",
        counter=flops_by_width,
        per_unit=lambda shape, n_sequences: feed_forward_flops(shape, n_sequences * shape.max_length),
        tolerance=0.02,
    ),
}


class Nearest(NamedTuple):
    """A width of the feed-forward layer, and the count that is reached with it."""

    d_ff: int
    reached: int


def nearest(count: Count, target: int, start: int, per_unit: float, most_counts: int = 12) -> Nearest:
    """Return the `d_ff` of 1 or more whose count is nearest to `target`, as far as `most_counts` tries can tell.

    `count` rises with d_ff. Newton's steps from `start`, with the slope between the last two counts: where the count is
    linear, the second or third is the nearest.
    """
    counted: dict[int, int] = {}
    d_ff, slope, before = start, per_unit, None
    for _ in range(most_counts):
        counted[d_ff] = count(d_ff)
        if before is not None:
            slope = (counted[d_ff] - counted[before]) / (d_ff - before)
            if slope <= 0:
                break
        before, d_ff = d_ff, max(1, d_ff + round((target - counted[d_ff]) / slope))
        if d_ff in counted:
            break
    return Nearest(*min(counted.items(), key=lambda item: abs(item[1] - target)))
