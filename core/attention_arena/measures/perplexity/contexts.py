"""Losses on the same tokens, given contexts of exact lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from attention_arena.measure import Subject
from attention_arena.measures.passes import UnsupportedError
from attention_arena.measures.perplexity.readings import Reading
from attention_arena.measures.perplexity.scoring import score
from attention_arena.splits import Tokens
from attention_arena.task import Batch

SEGMENTS = 4
"""Lengths that a context spans at most, unless it is told."""


def longest_for_all(max_context: int | None, length: int, n_tokens: int) -> int:
    """Return the longest context to measure in a text of `n_tokens`, whichever the variant.

    Raises UnsupportedError where the text is too short to predict two tokens from it.
    """
    fitting = [segments * length for segments in (SEGMENTS, 2, 1) if 2 * segments * length <= n_tokens]
    longest = max_context or (fitting[0] if fitting else length)
    if longest + 2 > n_tokens:
        raise UnsupportedError(
            f"the split has {n_tokens} tokens, too few for contexts of {longest}: give a max_context of "
            f"{max(2, n_tokens // 2)} or less, or a larger split"
        )
    return longest


def context_lengths(length: int, longest: int) -> list[int]:
    """Return 1, 2, 4, ... and `length`, or `longest` where that is shorter; then 2, 4, ... times `length` up to it."""
    first = min(length, longest)
    within = [2**k for k in range(first.bit_length()) if 2**k < first]
    beyond = [length * 2**k for k in range(1, (longest // length).bit_length())]
    return [*within, first, *beyond]


def targets_of(n_tokens: int, longest: int, max_tokens: int) -> npt.NDArray[np.int64]:
    """Return the tokens to predict: as many as are asked for or there are, spread evenly behind the first context."""
    n = min(max_tokens, n_tokens - longest)
    return longest + np.arange(n) * (n_tokens - longest) // n


def losses_by_context(
    subject: Subject, tokens: Tokens, targets: npt.NDArray[np.int64], contexts: Sequence[int], batch_size: int
) -> Tensor:
    """Return the nats (C, N) of each target, given each context and nothing before it.

    A batch holds `batch_size` windows of the task's length, or as many tokens in shorter windows.
    """
    length = subject.length
    losses = torch.empty(len(contexts), len(targets), dtype=torch.float64)
    for row, context in zip(losses, contexts, strict=True):
        n_rows = max(batch_size, batch_size * length // context)
        readings = endings(tokens, targets, context, min(context, length), n_rows)
        row[:] = torch.cat([each.nats for each in score(subject, readings)])
    return losses


def endings(
    tokens: Tokens, targets: npt.NDArray[np.int64], context: int, length: int, n_rows: int
) -> Iterator[Reading]:
    """Yield what precedes each target in segments of `length` tokens, of which the last one ends at it.

    Only the last prediction is scored. `context` is a multiple of `length`; the second segment and on resume.
    """
    n_segments = context // length
    for first in range(0, len(targets), n_rows):
        some = targets[first : first + n_rows]
        for segment in range(n_segments):
            begin = some - context + segment * length
            places = begin[:, None] + np.arange(length)  # (B, T)
            inputs, nexts = (torch.from_numpy(tokens[places + ahead].astype(np.int64)) for ahead in (0, 1))
            scored = torch.zeros(places.shape, dtype=torch.bool)
            scored[:, -1] = segment == n_segments - 1
            resumes = torch.full((len(some),), segment > 0)
            yield Reading(Batch(inputs, nexts, scored=scored, resumes=resumes), torch.from_numpy(places))
