"""How far a trained model looks: what moves a position's final hidden state, by the distance of what moves it.

The influence of position j on position i is the size of the Jacobian of i's final hidden state by j's input embedding,
estimated by one random projection: |d(v . h_i) / dx_j| with normal v has the Jacobian's Frobenius norm as its root mean
square. A gradient sees no discrete choice, such as the bucket of Reformer's hashing, and nothing that is kept without
one, such as Transformer-XL's memory of earlier segments: influence through these is missing here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from attention_arena.measure import Measure, Measurement, Subject
from attention_arena.measures.diagnostics.capture import evaluating
from attention_arena.measures.diagnostics.examples import first_examples
from attention_arena.measures.diagnostics.shares import mean_share
from attention_arena.measures.passes import rows_or_reason
from attention_arena.statistics import Interval, mean_interval
from attention_arena.task import Batch
from attention_arena.variant import Context, Options, State

HELD = 0.9
"""Share of all influence that lies within `receptive_field_distance`."""


class ReceptiveFieldOptions(Options):
    """Options of the receptive field."""

    examples: int = Field(16, ge=1, description="sequences of the test split")
    positions: int = Field(
        4,
        ge=1,
        description="positions of each whose influences are traced, spread evenly; of causal models, over the second"
        " half, where there is something to look back to",
    )


class Encoded(NamedTuple):
    """A forward that can be differentiated by its embeddings; pairs are rows here."""

    embedded: Tensor
    """(B, T, D), what the backbone was given."""
    hidden: Tensor
    """(B, T, D)."""
    valid: Tensor
    """(B, T) bool."""
    state: State | None


def encode(model: nn.Module, batch: Batch, state: State | None = None) -> Encoded:
    """Run a `SequenceModel` in evaluation mode with a graph from its embeddings, positions added, to hidden states."""
    given: list[tuple[Tensor, Context]] = []

    def begin_here(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        x, context = arguments
        given.append((x.detach().requires_grad_(), context))
        return given[0]

    hook = model.get_submodule("backbone").register_forward_pre_hook(begin_here)
    try:
        with torch.enable_grad(), evaluating(model):
            output = model(batch, state)
    finally:
        hook.remove()
    [(embedded, context)] = given
    valid = torch.ones_like(embedded[..., 0], dtype=torch.bool) if context.valid is None else context.valid
    return Encoded(embedded, output.hidden.view_as(embedded), valid, output.state)


def influences(encoded: Encoded, queries: Tensor, generator: torch.Generator) -> Tensor:
    """Return the influence of every position on the position `queries` (B,) of its row, (B, T); zero at padding."""
    rows = torch.arange(len(queries), device=encoded.hidden.device)
    found = encoded.hidden[rows, queries]  # (B, D)
    direction = torch.randn(found.shape, generator=generator).to(found)
    (grad,) = torch.autograd.grad(found, encoded.embedded, direction, retain_graph=True)
    sizes: Tensor = torch.linalg.vector_norm(grad, dim=-1)
    return sizes.masked_fill(~encoded.valid, 0.0)


def choose_queries(valid: Tensor, n: int, causal: bool) -> Tensor:
    """Return `n` positions of each row of `valid` (B, T), (n, B), spread evenly over its real tokens; ends included.

    Of a causal model over their second half; one position is the last one. Rows without a real token give 0.
    """
    last = valid.shape[1] - 1 - valid.flip(1).int().argmax(1)  # (B,)
    last = torch.where(valid.any(1), last, 0)
    places = torch.linspace(1, 0, n, device=valid.device).unsqueeze(1)  # (n, 1)
    first = (last + 1) // 2 if causal else torch.zeros_like(last)
    return first + (places * (last - first)).round().long()


def by_distance(influence: Tensor, queries: Tensor) -> Tensor:
    """Return the share of each row's influence (B, T) by distance from `queries` (B,), (B, T), in float64.

    Both directions add up. A row that nothing influences is zero.
    """
    places = torch.arange(influence.shape[1], device=influence.device)
    distances = (places - queries.unsqueeze(1)).abs()
    total = torch.zeros_like(influence, dtype=torch.float64).scatter_add_(1, distances, influence.double())
    return total / total.sum(1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)


def shares_of(subject: Subject, examples: int, positions: int) -> Tensor:
    """Return the share of influence by distance for each sequence (N, T), averaged over its positions; on the CPU."""
    model, causal = subject.trained, subject.data.objective.causal
    generator = torch.Generator().manual_seed(subject.seed)
    found: list[Tensor] = []
    state: State | None = None
    for batch in first_examples(subject, examples):
        with subject.autocast():
            encoded = encode(model, batch, state)
        queries = choose_queries(encoded.valid, positions, causal)
        shares = torch.stack([by_distance(influences(encoded, each, generator), each) for each in queries]).mean(0)
        found.append(shares[encoded.valid.any(1)].cpu())
        state = encoded.state
    longest = max(part.shape[1] for part in found)
    return torch.cat([nn.functional.pad(part, (0, longest - part.shape[1])) for part in found])


def bin_ends(n_distances: int) -> list[int]:
    """Return the furthest distance of each bin: 0, 1, 2, 4, 8 and so on, and the largest below `n_distances`."""
    ends = [0]
    while ends[-1] < n_distances - 1:
        ends.append(min(2 * ends[-1] or 1, n_distances - 1))
    return ends


def measure_receptive_field(options: ReceptiveFieldOptions, subject: Subject) -> Sequence[Measurement]:
    """Return influence by distance, each with its t interval over sequences.

    `receptive_field`, with the distance as `position`: "within" is the share of all influence from this distance and
    less, "at" the share of one bin, from beyond the position before up to this one. `receptive_field_distance` is the
    least distance that holds 90 % of a sequence's influence.
    """
    blank = [
        Measurement("receptive_field", "within", None, "share of influence"),
        Measurement("receptive_field_distance", "within", None, "tokens"),
    ]
    return rows_or_reason(blank, partial(_rows, options, subject, blank))


def _rows(options: ReceptiveFieldOptions, subject: Subject, blank: Sequence[Measurement]) -> Sequence[Measurement]:
    share, distance = blank
    shares = shares_of(subject, options.examples, options.positions)  # (N, T)
    within = shares.cumsum(1)
    ends = bin_ends(shares.shape[1])
    at = within[:, ends].diff(dim=1, prepend=torch.zeros(len(within), 1, dtype=within.dtype))
    rows = []
    for phase, values in (("within", within[:, ends]), ("at", at)):
        means = [mean_share(of_bin.tolist()) for of_bin in values.T]
        rows += [
            _filled(share._replace(phase=phase, position=end), mean) for end, mean in zip(ends, means, strict=True)
        ]
    # Rounding must not move the distance by one.
    return [*rows, _filled(distance, mean_interval((within < HELD - 1e-12).sum(1).tolist()))]


def _filled(row: Measurement, mean: Interval) -> Measurement:
    return row._replace(value=mean.value, low=mean.low, high=mean.high, samples=mean.n)


RECEPTIVE_FIELD = Measure(
    name="receptive_field",
    summary="influence on a position's final hidden state by distance, from gradients by the embeddings",
    options=ReceptiveFieldOptions,
    run=measure_receptive_field,
    needs_training=True,
)
