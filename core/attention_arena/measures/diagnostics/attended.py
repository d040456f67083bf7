"""The attention weights of a model on real sequences of its task, layer by layer.

Letters beside the usual ones: L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from attention_arena.layers import AttentionOutput, NoWeightsError
from attention_arena.measure import Measurement, Subject
from attention_arena.measures.diagnostics.capture import Attend, attention_layers, evaluating, intercepted
from attention_arena.task import Batch, Split
from attention_arena.variant import Context, Options, State


class SequencesOptions(Options):
    """Which sequences weights are looked at on."""

    examples: int = Field(4, ge=1, description="first examples of test; a pair is two sequences")
    max_length: int = Field(512, ge=1, description="longer sequences are cut to so many tokens")


class Attended(NamedTuple):
    """What one sequence's tokens attended to; padding is left out."""

    mass: Tensor
    """(L, H, T, S): sizes of the weights, each query's summing to 1, or to 0 where it attends to nothing."""
    signed: Tensor
    """(L, H, T, S): the weights themselves."""
    n_memory: int
    """Keys before the sequence's first token (M); S is M + T."""


def first_batches(split: Split, options: SequencesOptions, device: torch.device) -> list[Batch]:
    """Return the first examples of a split, one a batch, cut to the longest length that is looked at."""
    return [_cut(batch, options.max_length).to(device) for batch in islice(split.batches(1), options.examples)]


def attended(model: nn.Module, batches: Iterable[Batch]) -> Iterator[Attended]:
    """Yield what each sequence of `batches` attends to, in evaluation mode and full precision.

    State passes from batch to batch, as in evaluation. Raises NoWeightsError, or NotImplementedError, where the model
    has no weights or does not say them.
    """
    state: State | None = None
    for batch in batches:
        layers, state = _weights(model, batch, state)
        weights = torch.stack([weights for weights, _ in layers])  # (L, B, H, T, S)
        valid = layers[0][1]
        for row in range(weights.shape[1]):
            yield _of_sequence(weights[:, row], None if valid is None else valid[row])


def trained_and_untrained(options: SequencesOptions, subject: Subject) -> Iterator[tuple[str, Iterator[Attended]]]:
    """Yield ("trained", ...) and ("untrained", ...): what the run's model attends to, and what it did before training.

    On the same sequences; both raise as `attended` does.
    """
    batches = first_batches(subject.data.test, options, subject.device)
    yield "trained", attended(subject.trained, batches)
    yield "untrained", attended(subject.build(subject.length), batches)


def served(blank: Sequence[Measurement], fill: Callable[[], Sequence[Measurement]]) -> Sequence[Measurement]:
    """Return the rows that `fill` measures, or the `blank` ones where the variant has no weights to look at."""
    try:
        return fill()
    except (NoWeightsError, NotImplementedError) as error:
        return [row.without("unsupported", str(error)) for row in blank]


def _weights(model: nn.Module, batch: Batch, state: State | None) -> tuple[list[tuple[Tensor, Tensor | None]], State]:
    """Return each layer's weights (B, H, T, S) with the valid tokens (B, T), and the state for the batch after."""
    attentions = attention_layers(model)
    found: list[tuple[Tensor, Tensor | None]] = []

    def note(layer: int, attend: Attend, x: Tensor, norm: nn.Module, context: Context) -> AttentionOutput:
        output = attend(x, norm, context)
        # What the forward decided by chance (buckets, directions) is what its weights are of.
        repeated = context if output.replay is None else context._replace(replay=output.replay)
        found.append((attentions[layer].weights_raw(x, norm, repeated), context.valid))
        return output

    with torch.no_grad(), evaluating(model), intercepted(model, note):
        state = model(batch, state).state
    shapes = {tuple(weights.shape) for weights, _ in found}
    if not found:
        raise NoWeightsError("the backbone is no stack of attention layers, so there are no weights to look at")
    if len(shapes) > 1:
        raise NoWeightsError(f"layers have weights of different shapes {sorted(shapes)}, which cannot stand together")
    return found, state


def _of_sequence(weights: Tensor, valid: Tensor | None) -> Attended:
    T, S = weights.shape[-2:]
    if valid is not None:
        memory = torch.ones(S - T, dtype=torch.bool, device=valid.device)
        weights = weights[:, :, valid][..., torch.cat([memory, valid])]
    sizes = weights.abs()
    total = sizes.sum(-1, keepdim=True)
    return Attended(sizes / total.where(total > 0, 1.0), weights, S - T)


def _cut(batch: Batch, length: int) -> Batch:
    """Return the first `length` tokens of every sequence; what is cut is not continued by the batch after it."""
    if batch.tokens.shape[-1] <= length:
        return batch

    def first(part: Tensor | None) -> Tensor | None:
        return None if part is None else part[..., :length]

    return Batch(batch.tokens[..., :length], batch.targets, first(batch.valid), landmarks=first(batch.landmarks))
