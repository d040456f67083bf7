"""Attention maps: who attends to whom in one sequence, small enough to be kept and drawn.

A map of n x n weights is pooled to cells: the sum over a cell's keys, so that no mass is lost, and the mean over its
queries, so that each row of cells sums to 1 as each row of weights does. Maps are saved as arrays of the run; the rows
of the table have the entropy of the weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy
import torch
from pydantic import Field
from torch import Tensor

from attention_arena.measure import Measure, Measurement, Subject
from attention_arena.measures.diagnostics.attended import SequencesOptions, attended, first_batches, served
from attention_arena.measures.diagnostics.by_head import rows_by_head
from attention_arena.measures.diagnostics.concentration import entropy
from attention_arena.variant import Options

CELLS = 64
"""Most cells along either side of a map."""


class MapOptions(Options):
    """Options of the measure."""

    example: int = Field(
        1,
        ge=0,
        description="which example of test, counted from 0, and the last one where there are fewer; the first of a"
        " stream has no memory before it",
    )
    max_length: int = Field(512, ge=1, description="a longer sequence is cut to so many tokens")


def pool(mass: Tensor, cells: int) -> Tensor:
    """Return mass (..., T, S) in at most `cells` x `cells` cells of about equal size."""
    T, S = mass.shape[-2:]
    of_queries, of_keys = _members(T, cells).to(mass), _members(S, cells).to(mass)
    return (of_queries / of_queries.sum(0)).mT @ mass @ of_keys


def _members(n: int, cells: int) -> Tensor:
    """Return which cell each of `n` places is in, (n, cells) of 0 and 1; each place is a cell where they are few."""
    cells = min(n, cells)
    return torch.nn.functional.one_hot(torch.arange(n) * cells // n, cells)


def measure_map(options: MapOptions, subject: Subject) -> Sequence[Measurement]:
    """Save the map of each head of the trained model on one sequence, and return the entropy of its rows.

    Of a pair, the first sequence. The arrays are `attention_map.EXAMPLE.MAX_LENGTH` (L, H, cells, cells), and the same
    with `.extent` (2,): how many tokens of memory, and of the sequence, the keys' cells span.
    """
    unserved = Measurement("attention_map", "trained", None, "bits", samples=0)
    blank = Measurement("attention_entropy", "trained", None, "bits")
    wanted = SequencesOptions(examples=options.example + 1, max_length=options.max_length)

    def rows() -> list[Measurement]:
        batches = first_batches(subject.data.test, wanted, subject.device)
        n_sequences = 2 if batches[-1].tokens.dim() == 3 else 1
        sequence = list(attended(subject.trained, batches))[-n_sequences]
        name = f"attention_map.{options.example}.{options.max_length}"
        subject.save(name, pool(sequence.mass, CELLS).float().cpu().numpy())
        subject.save(f"{name}.extent", numpy.array([sequence.n_memory, sequence.mass.shape[-2]]))
        return rows_by_head(blank, [entropy(sequence.mass).mean(-1)])

    return served([unserved], rows)


MAPS = Measure(
    name="attention_map",
    summary="who attends to whom in one test sequence, a map for each layer and head, and the entropy of its rows",
    options=MapOptions,
    run=measure_map,
    needs_training=True,
)
